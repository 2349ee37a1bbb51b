"""Experiments at work: the search loop, evaluation, storage and results."""
