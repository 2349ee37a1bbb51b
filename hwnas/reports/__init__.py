"""What people look at: plots, tables and the page of a run."""
