"""The process that submits tasks and awaits results."""
