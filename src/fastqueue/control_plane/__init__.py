"""The process that owns the queue."""
