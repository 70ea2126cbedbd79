"""The NNG patterns; the only package that imports the NNG binding."""
