"""Parse, call, reply; one module per family of paths."""
