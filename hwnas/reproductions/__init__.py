"""Reproductions of papers: their experiments, their figures and a check of their claims."""
