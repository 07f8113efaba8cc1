"""Random requests against a running service, with a watch on memory, latency and errors."""
