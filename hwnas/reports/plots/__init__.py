"""Plots of runs and spaces."""
