"""Training text: documents, tokens, prepared corpora."""
