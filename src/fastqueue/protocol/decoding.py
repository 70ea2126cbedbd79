"""Own what every decoder of the protocol shares: what bad bytes raise, and how that is cited."""

from __future__ import annotations

import msgspec

from fastqueue.protocol.printable import printable

__all__ = ["DECODE_ERRORS", "cited"]

# What a body that isn't one of ours raises: msgspec checks that a text is UTF-8 apart.
DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError)


def cited(error: Exception) -> str:
    """Return an error's text fit for a log line: it may have in it what was sent."""
    return printable(str(error))
