"""Built-in optimizers, each written against the public contract of hwnas alone."""
