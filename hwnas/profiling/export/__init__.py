"""Files of built models, for use elsewhere."""
