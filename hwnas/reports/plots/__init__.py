"""Plots of runs and search spaces, as functions that draw into Matplotlib axes."""
