"""Own the version number; the build and the hello read it from here."""

__version__ = "0.1.0"
