"""Own TLS: what each side of a connection demands of the other, from the files in the settings.

Used by the control plane's listener, the dialer, and whoever dials with a socket of its own.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from fastqueue.config.regular_file import read_regular_file
from fastqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from fastqueue.config import PeerSecurity

__all__ = ["HANDSHAKE_TIMEOUT_S", "SHUTDOWN_TIMEOUT_S", "peer_context", "server_context"]

# The certificates of all the world's authorities are a quarter of a MiB.
_BYTES_MAX = 16 * 1024**2

HANDSHAKE_TIMEOUT_S = 5.0
"""What the handshake of TLS may take, in seconds."""

SHUTDOWN_TIMEOUT_S = 1.0
"""How long the other side may take to say goodbye, in seconds."""


def server_context(cert: str, key: str, client_ca: str | None) -> ssl.SSLContext:
    """Return what the control plane demands of those who connect.

    Args:
        cert: the file of its certificate.
        key: the file of that certificate's key.
        client_ca: the file of the certificates that must have signed a peer's own; with None a
            peer needs no certificate.

    Raises:
        ConfigurationError: a file can't be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _demand_much(context)
    _load_pair(context, cert, key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        _load_ca(context, client_ca, "tls_client_ca")
    return context


def peer_context(security: PeerSecurity) -> ssl.SSLContext:
    """Return what a peer demands of the control plane, whose name is always checked.

    Raises:
        ConfigurationError: a file can't be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _demand_much(context)
    if security.tls_ca is None:
        context.load_default_certs()
    else:
        _load_ca(context, security.tls_ca, "tls_ca")
    if security.tls_cert is not None and security.tls_key is not None:
        _load_pair(context, security.tls_cert, security.tls_key)
    return context


def _demand_much(context: ssl.SSLContext) -> None:
    # 1.3 is spoken where both can.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION


def _load_pair(context: ssl.SSLContext, cert: str, key: str) -> None:
    for setting, path in (("tls_cert", cert), ("tls_key", key)):
        _check_readable(setting, path)
    try:
        # Without a password to give, OpenSSL would ask for one at the terminal.
        context.load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            why = f"the key isn't that of the certificate in tls_cert {cert!r}"
        else:
            why = (
                f"it or the certificate in tls_cert {cert!r} isn't in PEM, or has a password, "
                f"which can't be given ({error.reason or error})"
            )
        raise ConfigurationError(f"tls_key {key!r} can't be used: {why}") from None


def _no_password() -> str:
    return ""


def _load_ca(context: ssl.SSLContext, path: str, setting: str) -> None:
    _check_readable(setting, path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"{setting} {path!r} holds no certificates in PEM ({error.reason or error})"
        ) from None


def _check_readable(setting: str, path: str) -> None:
    try:
        read_regular_file(path, _BYTES_MAX)
    except OSError as error:
        raise ConfigurationError(
            f"{setting} {path!r} can't be read: {error.strerror or error}"
        ) from error
