"""Own how the end of a process is told, to be read after "the process"."""

from __future__ import annotations

import signal

__all__ = ["how_it_ended"]


def how_it_ended(code: int) -> str:
    """Return how a process ended, from its return code: negative is the signal that killed it."""
    return f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
