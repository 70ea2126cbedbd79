"""Own the settings: which there are, where each may come from, and what it may be.

A setting comes from the first of: an argument, a `FASTQUEUE_*` environment variable,
`fastqueue.toml` (or `[tool.fastqueue]` of `pyproject.toml`) in the current directory, its default.
The client, the control plane and the subworker each resolve theirs once, when they are made.
"""

from __future__ import annotations

from fastqueue.config.address import IPC_PATH_BYTES_MAX, Address, parse_address
from fastqueue.config.security import PeerSecurity
from fastqueue.config.serialization_format import SerializationFormat
from fastqueue.config.settings import (
    BASE_ADDRESS,
    DISCOVERY_ADDRESS,
    ClientSettings,
    ControlPlaneSettings,
    SubworkerSettings,
)

__all__ = [
    "BASE_ADDRESS",
    "DISCOVERY_ADDRESS",
    "IPC_PATH_BYTES_MAX",
    "Address",
    "ClientSettings",
    "ControlPlaneSettings",
    "PeerSecurity",
    "SerializationFormat",
    "SubworkerSettings",
    "parse_address",
]
