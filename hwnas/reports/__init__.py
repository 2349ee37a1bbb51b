"""Plots, comparisons and the HTML report of runs."""
