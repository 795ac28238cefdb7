"""The other side of the wire: a server with a memory that behaves as the worker-facing API does."""
