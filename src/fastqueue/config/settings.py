"""Own the settings of the client, the control plane and the subworker: which, from where, default.

Each process resolves its own once, when it is made.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from fastqueue.config import values
from fastqueue.config.address import parse_address
from fastqueue.config.files import read_file_settings
from fastqueue.config.serialization_format import SerializationFormat
from fastqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Network, IPv6Network

__all__ = [
    "BASE_ADDRESS",
    "DISCOVERY_ADDRESS",
    "ClientSettings",
    "ControlPlaneSettings",
    "SubworkerSettings",
]

DISCOVERY_ADDRESS = "tcp://127.0.0.1:5550"
# Payloads are held in memory, several at a time, and sent in one piece.
PAYLOAD_BYTES_MAX = 256 * 1024 * 1024
BASE_ADDRESS = "tcp://127.0.0.1:5555"

# Each slot may be a thread, and a subworker holds as many leases.
CONCURRENCY_MAX = 10_000
_CONCURRENCY = values.integer(1, maximum=CONCURRENCY_MAX)
_GRACE = values.seconds(zero_allowed=True)
_LOG_LEVEL = values.one_of("debug", "info", "warning", "error")

_ENVIRONMENT_PREFIX = "FASTQUEUE_"


def _checked_by(check: Callable[[object, str], object]) -> dict[str, Any]:
    return {"check": check}


def _public_name(field_name: str) -> str:
    # In the environment, in files and on the command line a time is always in seconds.
    return field_name.removesuffix("_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """Resolve settings; a subclass says which there are, each with its check."""

    process: ClassVar[str]

    @classmethod
    def resolve(cls, **arguments: object) -> Self:
        """Find each setting: argument, `FASTQUEUE_*`, file in the current directory, default.

        Args:
            arguments: by the field's name or its name without `_s`; None means not given.

        Raises:
            ConfigurationError: a setting is wrong; the message names it and where it came from.
            TypeError: there is no such setting.
        """
        file = read_file_settings(cls.process, _known_names())
        resolved: dict[str, Any] = {}
        for one in fields(cls):
            name = _public_name(one.name)
            environment_name = _ENVIRONMENT_PREFIX + name.upper()
            short, long = arguments.pop(name, None), arguments.pop(one.name, None)
            check = one.metadata["check"]
            if short is not None or long is not None:
                resolved[one.name] = check(long if short is None else short, name)
            elif os.environ.get(environment_name, "").strip():
                resolved[one.name] = check(os.environ[environment_name], environment_name)
            elif name in file.values:
                written = name.replace("_", "-")
                resolved[one.name] = check(file.values[name], f"{written} in {file.path}")
        if arguments:
            raise TypeError(f"{cls.__name__} has no setting {min(arguments)!r}")
        return cls(**resolved)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings(_Settings):
    """Hold the settings of one client.

    Attributes:
        discovery_address: where control planes announce themselves.
        control_plane_address: the control plane, if it needn't be discovered.
        serialization_format: how arguments are encoded.
        timeout_s: how long one call waits, in seconds.
        retries: how often what wasn't acknowledged is sent again; 0 is never.
        result_cache_size: how many results the client keeps.
        log_level: the least severe log lines that a command shows; a `Client` shows none itself.
    """

    process: ClassVar[str] = "client"

    discovery_address: str = field(
        default=DISCOVERY_ADDRESS, metadata=_checked_by(values.address())
    )
    control_plane_address: str | None = field(default=None, metadata=_checked_by(values.address()))
    serialization_format: SerializationFormat = field(
        default=SerializationFormat.JSON, metadata=_checked_by(values.serialization_format)
    )
    timeout_s: float = field(default=30.0, metadata=_checked_by(values.seconds(zero_allowed=False)))
    retries: int = field(default=3, metadata=_checked_by(values.integer(0)))
    result_cache_size: int = field(default=100_000, metadata=_checked_by(values.integer(1)))
    log_level: str = field(default="warning", metadata=_checked_by(_LOG_LEVEL))


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneSettings(_Settings):
    """Hold the settings of one control plane.

    Attributes:
        worker_id: its name in results and logs.
        base_address: where it listens for clients and subworkers; port 0 lets the system choose.
        discovery_address: where it announces itself; port 0 lets the system choose.
        data_dir: the folder of its store.
        durability: what an acknowledged task survives: `full` power loss, `normal` a crash of the
            process, `memory` nothing.
        result_cache_size: how many results it keeps.
        result_cache_ttl_s: how long it keeps one, in seconds from completion.
        disk_free_min: below how many free bytes nothing new is accepted; 0 for never.
        payload_bytes_max: how large arguments or a result may be.
        callback_allow: the networks callbacks may be sent to; loopback always among them.
        callback_give_up_s: after how many seconds an undeliverable callback is given up.
        insecure: whether it may listen beyond this machine although nothing is encrypted.
        processes: how many local subworkers it has; None leaves it to the number of CPUs.
        log_level: the least severe log lines that it and they show.
        task_modules: what they run; as the next three, None means as set for any subworker.
        concurrency: how many slots each of them has.
        grace_s: how long their running tasks may go on after a stop, in seconds.
        allow_pickle: whether they may unpickle.
    """

    process: ClassVar[str] = "control_plane"

    worker_id: str = field(default="control-plane", metadata=_checked_by(values.worker_id))
    base_address: str = field(
        default=BASE_ADDRESS, metadata=_checked_by(values.address(allow_port_zero=True))
    )
    discovery_address: str = field(
        default=DISCOVERY_ADDRESS, metadata=_checked_by(values.address(allow_port_zero=True))
    )
    data_dir: str = field(default=".fastqueue", metadata=_checked_by(values.text))
    durability: Literal["full", "normal", "memory"] = field(
        default="full", metadata=_checked_by(values.one_of("full", "normal", "memory"))
    )
    result_cache_size: int = field(default=10_000, metadata=_checked_by(values.integer(1)))
    result_cache_ttl_s: float = field(
        default=3600.0, metadata=_checked_by(values.seconds(zero_allowed=False))
    )
    disk_free_min: int = field(default=128 * 1024 * 1024, metadata=_checked_by(values.integer(0)))
    payload_bytes_max: int = field(
        default=16 * 1024 * 1024,
        metadata=_checked_by(values.integer(1, maximum=PAYLOAD_BYTES_MAX)),
    )
    callback_allow: tuple[IPv4Network | IPv6Network, ...] = field(
        default_factory=values.loopback_networks, metadata=_checked_by(values.networks)
    )
    callback_give_up_s: float = field(
        default=86_400.0, metadata=_checked_by(values.seconds(zero_allowed=False))
    )
    insecure: bool = field(default=False, metadata=_checked_by(values.flag))
    processes: int | None = field(default=None, metadata=_checked_by(values.integer(0)))
    log_level: str = field(default="info", metadata=_checked_by(_LOG_LEVEL))
    task_modules: tuple[str, ...] | None = field(default=None, metadata=_checked_by(values.texts))
    concurrency: int | None = field(default=None, metadata=_checked_by(_CONCURRENCY))
    grace_s: float | None = field(default=None, metadata=_checked_by(_GRACE))
    allow_pickle: bool | None = field(default=None, metadata=_checked_by(values.flag))

    def __post_init__(self) -> None:
        if self.insecure:
            return
        for name in ("base_address", "discovery_address"):
            text = getattr(self, name)
            if not parse_address(text, setting=name, allow_port_zero=True).is_loopback:
                raise ConfigurationError(
                    f"{name} {text!r} can be reached from other machines, and whoever reaches it "
                    "can run your tasks and read their results: nothing is encrypted or checked "
                    "yet (TLS and tokens come in a later version); use a loopback address such as "
                    f"{BASE_ADDRESS}, or say insecure (--insecure) if the network is trusted"
                )


def _default_worker_id() -> str:
    import socket  # here, because `import fastqueue` needn't pay for it

    return f"{socket.gethostname()}-{os.getpid()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubworkerSettings(_Settings):
    """Hold the settings of one subworker.

    Attributes:
        worker_id: its name in results and logs; by default the host's name and the process id.
        control_plane_address: the control plane, if it needn't be discovered.
        discovery_address: where control planes announce themselves.
        concurrency: how many slots it has: tasks it runs at one time.
        grace_s: how long running tasks may go on after it was told to stop, in seconds.
        allow_pickle: whether it may unpickle, which runs any code a sender chose.
        task_modules: the modules that define its tasks.
        processes: how many subworker processes there are.
        log_level: the least severe log lines that are shown.
    """

    process: ClassVar[str] = "subworker"

    worker_id: str = field(
        default_factory=_default_worker_id, metadata=_checked_by(values.worker_id)
    )
    control_plane_address: str | None = field(default=None, metadata=_checked_by(values.address()))
    discovery_address: str = field(
        default=DISCOVERY_ADDRESS, metadata=_checked_by(values.address())
    )
    concurrency: int = field(default=32, metadata=_checked_by(_CONCURRENCY))
    grace_s: float = field(default=30.0, metadata=_checked_by(_GRACE))
    allow_pickle: bool = field(default=False, metadata=_checked_by(values.flag))
    task_modules: tuple[str, ...] = field(default=(), metadata=_checked_by(values.texts))
    processes: int = field(default=1, metadata=_checked_by(values.integer(1)))
    log_level: str = field(default="info", metadata=_checked_by(_LOG_LEVEL))


def _known_names() -> dict[str, frozenset[str]]:
    return {
        settings.process: frozenset(_public_name(one.name) for one in fields(settings))
        for settings in (ClientSettings, ControlPlaneSettings, SubworkerSettings)
    }
