"""The wire messages between processes and their framing."""
