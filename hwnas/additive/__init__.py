"""A Bayesian model of objectives that are nearly sums over layers."""
