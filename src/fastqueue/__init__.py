"""Durable background tasks without a broker."""
