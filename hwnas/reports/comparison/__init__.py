"""Comparison of optimizers over problems and seeds."""
