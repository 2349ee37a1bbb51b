"""Training of one model: settings, loop, checkpoints."""
