"""Numbered SQL scripts, forward only."""
