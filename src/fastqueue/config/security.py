"""Own what two processes know each other by: tokens, and the files of TLS.

Used by the settings, which hold them, and by whoever dials or listens.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field

from fastqueue.config.regular_file import read_regular_file
from fastqueue.errors import ConfigurationError

__all__ = ["PeerSecurity", "check_token", "read_token_file"]

TOKEN_LENGTH_MIN = 16
TOKEN_LENGTH_MAX = 1_024
_HOW_TO_MAKE_ONE = "make one with `python -c 'import secrets; print(secrets.token_urlsafe(32))'`"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSecurity:
    """Hold how a client or a subworker and its control plane know each other.

    Attributes:
        token: the secret that both have, if there is one.
        tls_ca: the file of the certificates that are trusted; None is those of the system.
        tls_cert: the file of the peer's own certificate, if it has one.
        tls_key: the file of its key.
    """

    token: str | None = field(default=None, repr=False)
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None

    @property
    def wants_tls(self) -> bool:
        """Say whether anything but TLS would be less than was asked for."""
        return self.tls_ca is not None or self.tls_cert is not None


def check_token(value: object, setting: str) -> str:
    """Take a token; what it is is in no error.

    Raises:
        ConfigurationError: it is none that could keep anybody out.
    """
    text = value.strip() if isinstance(value, str) else ""
    if not TOKEN_LENGTH_MIN <= len(text) <= TOKEN_LENGTH_MAX or not text.isprintable():
        raise ConfigurationError(
            f"{setting} is not a token: it must be one line of {TOKEN_LENGTH_MIN} to "
            f"{TOKEN_LENGTH_MAX:,} characters that nobody can guess; {_HOW_TO_MAKE_ONE}"
        )
    return text


def read_token_file(value: object, setting: str) -> str:
    """Read a token from a file that only its owner can read.

    Raises:
        ConfigurationError: there is no such file, others can read it, or it holds no token.
    """
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else ""
    try:
        # A character takes up to four bytes.
        content, mode = read_regular_file(path, 4 * TOKEN_LENGTH_MAX)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"{setting} {str(value)!r} can't be read: {why}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(
            f"{setting} {path!r} can be read by others (its mode is {stat.S_IMODE(mode):03o}): say "
            f"`chmod 600 {path}`, and make a new token if somebody may have read it"
        )
    try:
        return check_token(content.decode(), f"what is in {setting} {path!r}")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{setting} {path!r} holds no text, and so no token") from None
