"""Own the certificates of the tests: an authority, and what it has signed, as files."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import trustme


class Authority:
    """Be a certificate authority in a folder; each method returns the options of its files."""

    def __init__(self, folder, name="authority"):
        self._folder = Path(folder)
        self._name = name
        self._authority = trustme.CA()
        self.ca = str(self._folder / f"{name}.pem")
        self._authority.cert_pem.write_to_path(self.ca)

    def issue(self, *names, expired=False):
        """Sign a certificate for these host names or addresses; return its and its key's file."""
        now = dt.datetime.now(dt.UTC)
        leaf = self._authority.issue_cert(
            *names,
            not_before=now - dt.timedelta(days=2),
            not_after=now - dt.timedelta(days=1) if expired else None,
        )
        stem = f"{self._name}-{names[0]}-{'expired' if expired else 'valid'}"
        cert, key = str(self._folder / f"{stem}.crt"), str(self._folder / f"{stem}.key")
        Path(cert).write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        descriptor = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(leaf.private_key_pem.bytes())
        return {"tls_cert": cert, "tls_key": key}
