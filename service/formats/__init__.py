"""Readers of request bodies and writers of response bodies, one module per media type."""
