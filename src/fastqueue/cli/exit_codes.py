"""Own the exit codes of the commands, and which error leads to which."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn

from fastqueue.errors import (
    ConfigurationError,
    ControlPlaneUnavailable,
    FastQueueError,
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
    "UNREACHABLE",
    "USAGE",
    "exit_code_of",
    "exiting",
    "say",
]

DONE = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
INTERRUPTED = 130
BROKEN_PIPE = 141

_USAGE_ERRORS = (
    ConfigurationError,
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
    with contextlib.suppress(OSError):
        sys.stderr.write(f"fastqueue: {message}\n")
        sys.stderr.flush()


@contextlib.contextmanager
def exiting() -> Iterator[None]:
    """Run a command's body; every way it can end becomes an exit code.

    Raises:
        SystemExit: always on an error, with its exit code.
    """
    try:
        yield
        sys.stdout.flush()
    except TaskImportError as error:
        _show_cause(error)
        say(str(error))
        _exit(USAGE)
    except FastQueueError as error:
        say(str(error))
        _exit(exit_code_of(error))
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter is not to flush to it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _exit(BROKEN_PIPE)
    except KeyboardInterrupt:
        _exit(INTERRUPTED)


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
        (os.path.join("importlib", "__init__.py"), os.path.join("tasks", "registry.py"))
    )
