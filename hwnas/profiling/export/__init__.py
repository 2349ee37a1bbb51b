"""Export of built architectures to files."""
