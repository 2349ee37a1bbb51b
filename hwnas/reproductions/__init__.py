"""Papers run again: their experiments, their figures, and where both say the same."""
