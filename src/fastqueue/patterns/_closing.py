"""Own the closing of sockets that dial; `_socket` is its only user.

NNG 1.11, the newest that the binding comes with, takes an operation that ends while it is being
stopped for one that never began, frees it, and then aborts the process when it ends
(nanomsg/nng#2208, mended in 1.12). It takes a thread that is held up at the wrong instruction, so
it is rare: one close in 160,000 on a busy machine. What was hit whenever it was seen is an attempt
to connect. So a socket that dials is closed when no attempt is under way: at once if it is
connected, as it mostly is; otherwise when the attempt that is due has ended, and no later than it
must have.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import Any

import pynng

from fastqueue.patterns._stats import dialer_counts

__all__ = ["close_when_idle", "finish"]

_NEVER_MS = 2**29
"""So far off that no further attempt begins; NNG doubles it, and it must fit in 31 bits."""

_POLL_S = 0.01
"""NNG tells nobody of the end of an attempt that failed: it has to be asked."""

_ATTEMPT_S = 0.5
"""How long an attempt may take: to a host that doesn't answer it would be minutes."""


@dataclass(frozen=True, slots=True)
class _Pending:
    raw: Any
    dialer_id: int
    ended: int
    deadline: float


_lock = threading.Lock()
"""Guards the two below; never held while NNG closes anything."""

_pending: list[_Pending] = []
_thread: threading.Thread | None = None

_turn = threading.Lock()
"""Held while sockets are closed here: `finish` waits for those the thread has begun with."""


def close_when_idle(raw: Any, dialer: Any, reconnect_max_s: float) -> None:
    """Close a socket that dials, now or soon; never blocks.

    Args:
        raw: the socket; nobody uses it any more.
        dialer: its only dialer.
        reconnect_max_s: the longest pause between two of its attempts, in seconds.
    """
    with contextlib.suppress(pynng.NNGException):
        # Before looking: a connection that ends after this isn't made again.
        dialer.reconnect_time_max = _NEVER_MS
        dialer.reconnect_time_min = _NEVER_MS
    counts = dialer_counts().get(dialer.id)
    if counts is None or counts.pipes > 0:
        raw.close()
        return
    deadline = time.monotonic() + reconnect_max_s + _ATTEMPT_S
    with _lock:
        _pending.append(_Pending(raw, dialer.id, counts.attempts_ended, deadline))
        _start_thread()


def finish() -> None:
    """Close all that is still to be closed, waiting for it; for the end of the process."""
    while _pending:
        _close_idle()


def _start_thread() -> None:
    global _thread
    if _thread is None:
        _thread = threading.Thread(target=_run, name="fastqueue-nng-closer", daemon=True)
        try:
            _thread.start()
        except RuntimeError:
            _thread = None  # the interpreter is ending: `finish` closes it


def _run() -> None:
    global _thread
    while True:
        _close_idle()
        with _lock:
            if not _pending:
                _thread = None
                return


def _close_idle() -> None:
    """Close those whose attempt has ended, or whose time has passed."""
    with _turn:
        with _lock:
            looked_at = list(_pending)
        counts = dialer_counts()  # after: they are to be newer than those it began with
        # What NNG still does about an attempt after it has counted its end is done meanwhile.
        time.sleep(_POLL_S)
        now = time.monotonic()
        for one in looked_at:
            found = counts.get(one.dialer_id)
            if (found is not None and found.attempts_ended != one.ended) or now > one.deadline:
                one.raw.close()
                with _lock:
                    _pending.remove(one)
