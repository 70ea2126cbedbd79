"""Own the exit codes of the commands, which error leads to which, and the end of the process."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from fastqueue.cli.logs import flush
from fastqueue.errors import (
    ConfigurationError,
    ControlPlaneUnavailable,
    FastQueueError,
    InvalidArguments,
    PatternError,
    PayloadTooLarge,
    SerializationError,
    StoreLocked,
    TaskImportError,
    TaskNameConflict,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "BROKEN_PIPE",
    "DONE",
    "FAILED",
    "INTERRUPTED",
    "NO_OUTPUT",
    "UNREACHABLE",
    "USAGE",
    "CheckedStdout",
    "exit_code_of",
    "exiting",
    "leave",
    "say",
]

logger = logging.getLogger(__name__)

DONE = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
NO_OUTPUT = 74
"""As EX_IOERR of sysexits.h."""
INTERRUPTED = 130
BROKEN_PIPE = 141

_USAGE_ERRORS = (
    ConfigurationError,
    InvalidArguments,
    PatternError,
    PayloadTooLarge,
    SerializationError,
    StoreLocked,
    TaskImportError,
    TaskNameConflict,
)


def exit_code_of(error: FastQueueError) -> int:
    """Return the exit code that an error leads to."""
    if isinstance(error, ControlPlaneUnavailable):
        return UNREACHABLE
    return USAGE if isinstance(error, _USAGE_ERRORS) else FAILED


def say(message: str) -> None:
    """Write one line for a person to stderr."""
    if sys.stderr is None:
        return  # it was closed when we were started
    with contextlib.suppress(OSError):
        sys.stderr.write(f"fastqueue: {message}\n")
        sys.stderr.flush()


@contextlib.contextmanager
def exiting(*, prints: bool = False) -> Iterator[None]:
    """Run a command's body; every way it can end becomes an exit code.

    Args:
        prints: whether the command is of no use without stdout.

    Raises:
        SystemExit: always on an error, with its exit code.
    """
    try:
        if prints and sys.stdout is None:
            say("standard output is closed: there is nowhere to write the answer")
            _exit(NO_OUTPUT)
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except TaskImportError as error:
        _show_cause(error)
        say(str(error))
        _exit(USAGE)
    except FastQueueError as error:
        say(str(error))
        _exit(exit_code_of(error))
    except BrokenPipeError:
        # Whoever read our output has gone.
        _abandon_stdout()
        _exit(BROKEN_PIPE)
    except OutputError as error:
        say(f"standard output can't be written: {error.strerror or error}")
        _abandon_stdout()
        _exit(NO_OUTPUT)
    except KeyboardInterrupt:
        _exit(INTERRUPTED)


class OutputError(OSError):
    """Say why stdout can't be written, apart from whatever else the system refuses."""


class CheckedStdout:
    """Be stdout, with its errors told apart from all others.

    Args:
        stream: the real one.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        """Be the real one in everything else."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or say that it is stdout that failed."""
        with _told_apart():
            return self._stream.write(text)

    def flush(self) -> None:
        """Flush, or say that it is stdout that failed."""
        with _told_apart():
            self._stream.flush()


@contextlib.contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(*error.args) from error


def _abandon_stdout() -> None:
    """Keep the interpreter from failing when it flushes once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def leave(code: int) -> NoReturn:
    """End the process, without waiting for threads that task modules have started.

    The interpreter would wait for every one that isn't a daemon, for ever.

    Raises:
        SystemExit: there are none, and the usual end will do.
    """
    others = [
        thread.name
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.daemon
    ]
    if others:
        logger.info("not waiting for threads of the task modules: %s", ", ".join(others[:10]))
        atexit._run_exitfuncs()  # noqa: SLF001 - there is no other way to call them
        flush()
        os._exit(code)
    sys.exit(code)


def _exit(code: int) -> NoReturn:
    raise SystemExit(code) from None


def _show_cause(error: TaskImportError) -> None:
    """Show where in the user's module the import failed, without our own and importlib's lines."""
    cause = error.__cause__
    if cause is None:
        return
    frames = cause.__traceback__
    while frames is not None and _is_machinery(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    if frames is not None or isinstance(cause, SyntaxError):
        sys.stderr.write("".join(traceback.format_exception(type(cause), cause, frames)))


def _is_machinery(filename: str) -> bool:
    return filename.startswith("<frozen importlib") or filename.endswith(
        (os.path.join("importlib", "__init__.py"), os.path.join("tasks", "loading.py"))
    )
