"""The process that runs task functions."""
