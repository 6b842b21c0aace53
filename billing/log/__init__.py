"""The request log: its pages, its files, one request."""
