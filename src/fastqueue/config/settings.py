"""Own the settings of the client, the control plane and the subworker: which, from where, default.

Each process resolves its own once, when it is made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from fastqueue.config import values
from fastqueue.config.address import parse_address
from fastqueue.config.files import read_file_settings
from fastqueue.config.security import PeerSecurity, check_token, read_token_file
from fastqueue.config.serialization_format import SerializationFormat
from fastqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    from fastqueue.config.files import FileSettings

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
# Each is an interpreter, of some 30 MB before it has imported a task module: more than a thousand
# on one machine is a slip of the finger, which shall not use up its memory.
PROCESSES_MAX = 1_024
_CONCURRENCY = values.integer(1, maximum=CONCURRENCY_MAX)
_TASK_PROCESSES = values.integer(1, maximum=PROCESSES_MAX)
_GRACE = values.seconds(zero_allowed=True)
_LOG_LEVEL = values.one_of("debug", "info", "warning", "error")

_ENVIRONMENT_PREFIX = "FASTQUEUE_"


def _checked_by(check: Callable[[object, str], object]) -> dict[str, Any]:
    return {"check": check}


def _token() -> Any:
    """Declare a token: never shown, and also taken from a file, by its name with `_file`."""
    metadata = {"check": check_token, "check_file": read_token_file}
    return field(default=None, repr=False, metadata=metadata)


def _path() -> Any:
    return field(default=None, metadata=_checked_by(values.text))


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
            checks = {name: one.metadata["check"]}
            if "check_file" in one.metadata:
                checks[f"{name}_file"] = one.metadata["check_file"]
            given = {each: arguments.pop(each, None) for each in checks}
            long = arguments.pop(one.name, None)
            given[name] = long if given[name] is None else given[name]
            # The first place that has it is where it comes from.
            for place in (_in_arguments(given), _in_environment, _in_file(file)):
                found = [(check, there) for each, check in checks.items() if (there := place(each))]
                if len(found) > 1:
                    both = " and ".join(label for _, (_, label) in found)
                    raise ConfigurationError(f"{both} are both given: leave out one of them")
                if found:
                    [(check, (value, label))] = found
                    resolved[one.name] = check(value, label)
                    break
        if arguments:
            raise TypeError(f"{cls.__name__} has no setting {min(arguments)!r}")
        return cls(**resolved)


_Place = Callable[[str], tuple[object, str] | None]
"""Where settings may be: by a name, what is there and what to call it in an error."""


def _in_arguments(arguments: Mapping[str, object]) -> _Place:
    return lambda name: None if (value := arguments[name]) is None else (value, name)


def _in_environment(name: str) -> tuple[object, str] | None:
    variable = _ENVIRONMENT_PREFIX + name.upper()
    value = os.environ.get(variable, "")
    return (value, variable) if value.strip() else None


def _in_file(file: FileSettings) -> _Place:
    def place(name: str) -> tuple[object, str] | None:
        if name not in file.values:
            return None
        return file.values[name], f"{name.replace('_', '-')} in {file.path}"

    return place


@dataclass(frozen=True, slots=True, kw_only=True)
class _PeerSettings(_Settings):
    """Hold the settings of all that connect to a control plane.

    Attributes:
        discovery_address: where control planes announce themselves.
        control_plane_address: the control plane, if it needn't be discovered.
        token: what it proves to the control plane, and the control plane to it.
        tls_ca: the file of the certificates that are trusted; None is those of the system.
        tls_cert: the file of its own certificate, if the control plane asks for one.
        tls_key: the file of that certificate's key.
    """

    discovery_address: str = field(
        default=DISCOVERY_ADDRESS, metadata=_checked_by(values.address())
    )
    control_plane_address: str | None = field(
        default=None, metadata=_checked_by(values.address(allow_tls=True))
    )
    token: str | None = _token()
    tls_ca: str | None = _path()
    tls_cert: str | None = _path()
    tls_key: str | None = _path()

    def __post_init__(self) -> None:
        _check_pair(self.tls_cert, self.tls_key)
        address = self.control_plane_address
        if address is not None and self.security.wants_tls and address.startswith("tcp://"):
            raise ConfigurationError(
                f"control_plane_address {address!r} is not encrypted, although "
                f"{'tls_ca' if self.tls_ca else 'tls_cert'} is set: write it like "
                f"tls://{address.removeprefix('tcp://')}, or leave that out"
            )

    @property
    def security(self) -> PeerSecurity:
        """Return how it and its control plane know each other."""
        return PeerSecurity(
            token=self.token, tls_ca=self.tls_ca, tls_cert=self.tls_cert, tls_key=self.tls_key
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings(_PeerSettings):
    """Hold the settings of one client, besides those of any peer.

    Attributes:
        serialization_format: how arguments are encoded.
        timeout_s: how long one call waits, in seconds.
        retries: how often what wasn't acknowledged is sent again; 0 is never.
        result_cache_size: how many results the client keeps.
        validate: whether arguments are checked against what subworkers take.
        log_level: the least severe log lines that a command shows; a `Client` shows none itself.
    """

    process: ClassVar[str] = "client"

    serialization_format: SerializationFormat = field(
        default=SerializationFormat.JSON, metadata=_checked_by(values.serialization_format)
    )
    timeout_s: float = field(default=30.0, metadata=_checked_by(values.seconds(zero_allowed=False)))
    retries: int = field(default=3, metadata=_checked_by(values.integer(0)))
    result_cache_size: int = field(default=100_000, metadata=_checked_by(values.integer(1)))
    validate: bool = field(default=True, metadata=_checked_by(values.flag))
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
        max_crashes: how many subworkers may die with a task before it is quarantined.
        callback_allow: the networks callbacks may be sent to; loopback always among them.
        callback_give_up_s: after how many seconds an undeliverable callback is given up.
        insecure: whether it may listen beyond this machine without TLS and a token.
        processes: how many local subworkers it has; None leaves it to the number of CPUs.
        log_level: the least severe log lines that it and they show.
        task_modules: what they run; as the next four, None means as set for any subworker.
        concurrency: how many slots each of them has.
        task_processes: how many processes each of them has for tasks with `executor="process"`.
        queues: the queues that they serve; none named is all.
        grace_s: how long their running tasks may go on after a stop, in seconds.
        allow_pickle: whether they may unpickle.
        token: what whoever connects must prove to have, for any role.
        token_submit: the same for clients alone; they can't inspect.
        token_worker: the same for subworkers alone.
        token_admin: the same for any role, where the others are set.
        tls_cert: the file of its certificate, for a base address that begins with tls://.
        tls_key: the file of that certificate's key.
        tls_client_ca: the file of the certificates one of which must have signed a peer's own.
    """

    process: ClassVar[str] = "control_plane"

    worker_id: str = field(default="control-plane", metadata=_checked_by(values.worker_id))
    base_address: str = field(
        default=BASE_ADDRESS,
        metadata=_checked_by(values.address(allow_port_zero=True, allow_tls=True)),
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
    max_crashes: int = field(default=3, metadata=_checked_by(values.integer(1)))
    callback_allow: tuple[IPv4Network | IPv6Network, ...] = field(
        default_factory=values.loopback_networks, metadata=_checked_by(values.networks)
    )
    callback_give_up_s: float = field(
        default=86_400.0, metadata=_checked_by(values.seconds(zero_allowed=False))
    )
    insecure: bool = field(default=False, metadata=_checked_by(values.flag))
    processes: int | None = field(
        default=None, metadata=_checked_by(values.integer(0, maximum=PROCESSES_MAX))
    )
    log_level: str = field(default="info", metadata=_checked_by(_LOG_LEVEL))
    task_modules: tuple[str, ...] | None = field(default=None, metadata=_checked_by(values.texts))
    concurrency: int | None = field(default=None, metadata=_checked_by(_CONCURRENCY))
    task_processes: int | None = field(default=None, metadata=_checked_by(_TASK_PROCESSES))
    queues: tuple[str, ...] | None = field(default=None, metadata=_checked_by(values.queue_names))
    grace_s: float | None = field(default=None, metadata=_checked_by(_GRACE))
    allow_pickle: bool | None = field(default=None, metadata=_checked_by(values.flag))

    token: str | None = _token()
    token_submit: str | None = _token()
    token_worker: str | None = _token()
    token_admin: str | None = _token()
    tls_cert: str | None = _path()
    tls_key: str | None = _path()
    tls_client_ca: str | None = _path()

    def __post_init__(self) -> None:
        self._check_tokens()
        _check_pair(self.tls_cert, self.tls_key)
        self._check_tls()
        if not self.insecure:
            self._check_reach()

    @property
    def tokens(self) -> Mapping[str, str]:
        """Return the tokens that are set, by the setting's name."""
        names = ("token", "token_submit", "token_worker", "token_admin")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @property
    def local_token(self) -> str | None:
        """Return the token of its own subworkers; None if there is none for them."""
        return self.token_worker or self.token or self.token_admin

    def _check_tokens(self) -> None:
        tokens = self.tokens
        if len(set(tokens.values())) < len(tokens):
            raise ConfigurationError(
                f"two of {', '.join(tokens)} are the same: each needs a secret of its own"
            )

    def _check_tls(self) -> None:
        is_tls = self.base_address.startswith("tls://")
        if is_tls and self.tls_cert is None:
            raise ConfigurationError(
                f"base_address {self.base_address!r} needs a certificate: name its file with "
                "tls_cert (--tls-cert) and its key's with tls_key (--tls-key)"
            )
        if self.base_address.startswith("tcp://") and (self.tls_cert or self.tls_client_ca):
            raise ConfigurationError(
                f"base_address {self.base_address!r} is not encrypted, although "
                f"{'tls_cert' if self.tls_cert else 'tls_client_ca'} is set: write it like "
                f"tls://{self.base_address.removeprefix('tcp://')}, or leave that out"
            )

    def _check_reach(self) -> None:
        is_tls = self.base_address.startswith("tls://")
        if is_tls and (self.tokens or self.tls_client_ca is not None):
            return
        for name in ("base_address", "discovery_address"):
            text = getattr(self, name)
            address = parse_address(text, setting=name, allow_port_zero=True, allow_tls=True)
            if address.is_loopback:
                continue
            missing = [] if is_tls else ["a base_address with tls://, tls_cert and tls_key"]
            missing.append("a token (FASTQUEUE_TOKEN) or tls_client_ca")
            raise ConfigurationError(
                f"{name} {text!r} can be reached from other machines, and whoever reaches it "
                f"could run your tasks and read their results: set {', and '.join(missing)}; or "
                f"use a loopback address such as {BASE_ADDRESS}; or say insecure (--insecure) if "
                "the network is trusted"
            )


def _check_pair(cert: str | None, key: str | None) -> None:
    if (cert is None) != (key is None):
        there, missing = ("tls_key", "tls_cert") if cert is None else ("tls_cert", "tls_key")
        raise ConfigurationError(
            f"{there} is set and {missing} isn't: a certificate and its key go together"
        )


def _default_worker_id() -> str:
    import socket  # here, because `import fastqueue` needn't pay for it

    return f"{socket.gethostname()}-{os.getpid()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubworkerSettings(_PeerSettings):
    """Hold the settings of one subworker, besides those of any peer.

    Attributes:
        worker_id: its name in results and logs; by default the host's name and the process id.
        concurrency: how many slots it has: tasks it runs at one time.
        grace_s: how long running tasks may go on after it was told to stop, in seconds.
        allow_pickle: whether it may unpickle, which runs any code a sender chose.
        task_modules: the modules that define its tasks.
        processes: how many subworker processes there are.
        task_processes: how many processes it has at one time for tasks with `executor="process"`,
            up to its slots; by default those that are started together share one a CPU.
        queues: the queues that it serves; none named is all.
        log_level: the least severe log lines that are shown.
    """

    process: ClassVar[str] = "subworker"

    worker_id: str = field(
        default_factory=_default_worker_id, metadata=_checked_by(values.worker_id)
    )
    concurrency: int = field(default=32, metadata=_checked_by(_CONCURRENCY))
    grace_s: float = field(default=30.0, metadata=_checked_by(_GRACE))
    allow_pickle: bool = field(default=False, metadata=_checked_by(values.flag))
    task_modules: tuple[str, ...] = field(default=(), metadata=_checked_by(values.texts))
    processes: int = field(
        default=1, metadata=_checked_by(values.integer(1, maximum=PROCESSES_MAX))
    )
    task_processes: int | None = field(default=None, metadata=_checked_by(_TASK_PROCESSES))
    queues: tuple[str, ...] = field(default=(), metadata=_checked_by(values.queue_names))
    log_level: str = field(default="info", metadata=_checked_by(_LOG_LEVEL))


def _known_names() -> dict[str, frozenset[str]]:
    return {
        settings.process: frozenset(_names_of(settings))
        for settings in (ClientSettings, ControlPlaneSettings, SubworkerSettings)
    }


def _names_of(settings: type[_Settings]) -> Iterator[str]:
    for one in fields(settings):
        name = _public_name(one.name)
        yield name
        if "check_file" in one.metadata:
            yield f"{name}_file"
