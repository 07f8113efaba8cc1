"""Bytes of requests to rows, and answers to bytes: one module per media type."""
