"""Text to train on: documents, tokens, prepared corpora."""
