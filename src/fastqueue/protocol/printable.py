"""Own what texts of a peer may be where people read them: a line of a log, a terminal.

A newline in one would let it write log lines of its own, an escape sequence would reach the
terminal of whoever reads them.
"""

from __future__ import annotations

__all__ = ["check_printable", "printable"]


def printable(text: str) -> str:
    """Return the text on one line, with all in it that isn't printable written as an escape."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )


def check_printable(*texts: str) -> None:
    """Refuse texts that people are shown as they are.

    Raises:
        ValueError: there is something in one of them that isn't printable.
    """
    for text in texts:
        if not text.isprintable():
            raise ValueError(f"{text!r:.250} has an unprintable character in it")
