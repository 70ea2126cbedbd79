"""Own the options that several commands have: their types and help. `app` puts them together."""

from __future__ import annotations

from typing import Annotated

import typer

from fastqueue.cli.logs import LogLevel
from fastqueue.config import DISCOVERY_ADDRESS

__all__ = [
    "DISCOVERY_HELP",
    "AllowPickle",
    "CallbackAllow",
    "ClientLogLevel",
    "Concurrency",
    "ControlPlaneAddress",
    "DiscoveryAddress",
    "Durability",
    "Grace",
    "Json",
    "ServerLogLevel",
    "TaskId",
    "TaskModules",
    "Timeout",
    "TlsCa",
    "TlsCert",
    "TlsClientCa",
    "TlsKey",
    "TokenFile",
    "client_settings",
]

DISCOVERY_HELP = f"Where control planes announce themselves [default: {DISCOVERY_ADDRESS}]."

TaskModules = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODULE...",
        help="The modules, or .py files, that define the tasks: several with spaces or commas "
        "between, or the option again.",
    ),
]
Concurrency = Annotated[
    int | None, typer.Option(help="Tasks that one subworker runs at one time [default: 32].")
]
Grace = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS", help="How long running tasks may go on after a stop [default: 30]."
    ),
]
AllowPickle = Annotated[
    bool | None,
    typer.Option(help="Unpickle arguments, which runs any code a sender chose."),
]
ServerLogLevel = Annotated[
    LogLevel | None,
    typer.Option(case_sensitive=False, help="Least severe shown [default: info]."),
]
ClientLogLevel = Annotated[
    LogLevel | None,
    typer.Option(case_sensitive=False, help="Least severe shown [default: warning]."),
]
TaskId = Annotated[str, typer.Option(help="The id under which it was submitted.")]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON document, for programs.")]
ControlPlaneAddress = Annotated[
    str | None, typer.Option(help="The control plane, if it needn't be discovered.")
]
DiscoveryAddress = Annotated[str | None, typer.Option(help=DISCOVERY_HELP)]
Timeout = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="How long to wait for the answer [default: 30]."),
]


# What all of them have that connect, or are connected to.
TokenFile = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="The file that holds the token, for its owner's eyes only; or set FASTQUEUE_TOKEN. "
        "Both sides prove that they have it, and neither sends it.",
    ),
]
TlsCert = Annotated[
    str | None, typer.Option(metavar="PATH", help="Its certificate, in PEM, for a tls:// address.")
]
TlsKey = Annotated[str | None, typer.Option(metavar="PATH", help="That certificate's key.")]
TlsCa = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="The certificates that a control plane's must be signed by; what isn't encrypted is "
        "refused then [default: the system's].",
    ),
]
Durability = Annotated[
    str | None,
    typer.Option(
        help="What an acknowledged task survives: full (power loss), normal (a crash of the "
        "process), memory (nothing) [default: full]."
    ),
]
CallbackAllow = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CIDR...",
        help="A network callbacks may be sent to, besides this machine; can be given again.",
    ),
]
TlsClientCa = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="The certificates that a peer's own must be signed by; without one nobody is let in.",
    ),
]


def client_settings(
    control_plane_address: str | None,
    discovery_address: str | None,
    timeout: float | None,
    log_level: LogLevel | None,
    token_file: str | None,
    tls_ca: str | None,
    tls_cert: str | None,
    tls_key: str | None,
) -> dict[str, object]:
    """Return the settings of a client that a command was given."""
    return {
        "control_plane_address": control_plane_address,
        "discovery_address": discovery_address,
        "timeout": timeout,
        "log_level": log_level,
        "token_file": token_file,
        "tls_ca": tls_ca,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
    }
