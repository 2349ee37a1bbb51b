"""The optimizers that come with hwnas, each written against its public contract alone."""
