"""Own the options that commands have: their types, their help, and which settings go together.

Used by `app`. What only one command has is written there, unless it is a setting.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, ParamSpec, TypedDict, get_args, get_type_hints

import typer

from fastqueue.cli.logs import LogLevel
from fastqueue.config import BASE_ADDRESS, DISCOVERY_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ClientOptions",
    "ControlPlaneOptions",
    "Json",
    "LogLevelOfClient",
    "SubmitCommandOptions",
    "SubworkerOptions",
    "TaskId",
    "TaskIds",
    "TaskModules",
    "settings_as_options",
]

# -- one option each

TaskId = Annotated[str, typer.Option(help="The id under which it was submitted.")]
TaskIds = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ID...",
        help="Those with these ids: several with spaces between, or the option again.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON document, for programs.")]
TaskModules = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODULE...",
        help="The modules, or .py files, that define the tasks: several with spaces or commas "
        "between, or the option again.",
    ),
]
LogLevelOfClient = Annotated[
    LogLevel | None,
    typer.Option(case_sensitive=False, help="Least severe shown [default: warning]."),
]

_LogLevelOfServer = Annotated[
    LogLevel | None,
    typer.Option(case_sensitive=False, help="Least severe shown [default: info]."),
]
_Concurrency = Annotated[
    int | None, typer.Option(help="Tasks that one subworker runs at one time [default: 32].")
]
_TaskProcesses = Annotated[
    int | None,
    typer.Option(
        help='Processes that one subworker has for tasks with executor="process", up to its '
        "concurrency [default: one a CPU, shared by the subworkers started together]."
    ),
]
_Queues = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME...",
        help="A queue that the subworkers serve, or several between commas; can be given again "
        "[default: all queues].",
    ),
]
_Grace = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS", help="How long running tasks may go on after a stop [default: 30]."
    ),
]
_AllowPickle = Annotated[
    bool | None,
    typer.Option(help="Unpickle arguments, which runs any code a sender chose."),
]
_ControlPlaneAddress = Annotated[
    str | None, typer.Option(help="The control plane, if it needn't be discovered.")
]
_DiscoveryAddress = Annotated[
    str | None,
    typer.Option(help=f"Where control planes announce themselves [default: {DISCOVERY_ADDRESS}]."),
]
_TokenFile = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="The file that holds the token, for its owner's eyes only; or set FASTQUEUE_TOKEN. "
        "Both sides prove that they have it, and neither sends it.",
    ),
]
_TlsCert = Annotated[
    str | None, typer.Option(metavar="PATH", help="Its certificate, in PEM, for a tls:// address.")
]
_TlsKey = Annotated[str | None, typer.Option(metavar="PATH", help="That certificate's key.")]
_TlsCa = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="The certificates that a control plane's must be signed by; what isn't encrypted is "
        "refused then [default: the system's].",
    ),
]
_LATER = "Accepted, without effect: the dashboard comes in a later version."

# -- the settings a command has; what isn't given is None


class ControlPlaneOptions(TypedDict, total=False):
    """Name the settings of `fastqueue control-plane`."""

    task_modules: TaskModules
    worker_id: Annotated[
        str | None, typer.Option(help="Its name in results and logs [default: control-plane].")
    ]
    base_address: Annotated[
        str | None,
        typer.Option(
            help=f"Where it listens for clients and subworkers [default: {BASE_ADDRESS}]."
        ),
    ]
    discovery_address: Annotated[
        str | None, typer.Option(help=f"Where it announces itself [default: {DISCOVERY_ADDRESS}].")
    ]
    data_dir: Annotated[
        str | None, typer.Option(help="The folder of its store [default: .fastqueue].")
    ]
    durability: Annotated[
        str | None,
        typer.Option(
            help="What an acknowledged task survives: full (power loss), normal (a crash of the "
            "process), memory (nothing) [default: full]."
        ),
    ]
    result_cache_size: Annotated[
        int | None, typer.Option(help="Results it keeps [default: 10000].")
    ]
    result_cache_ttl: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="How long it keeps a result [default: 3600]."),
    ]
    disk_free_min: Annotated[
        int | None,
        typer.Option(
            metavar="BYTES",
            help="Below how many free bytes nothing new is accepted; 0 for never "
            "[default: 134217728].",
        ),
    ]
    payload_bytes_max: Annotated[
        int | None,
        typer.Option(help="How large arguments or a result may be [default: 16777216]."),
    ]
    max_crashes: Annotated[
        int | None,
        typer.Option(
            help="How many processes may die with a task before it fails for good [default: 3]."
        ),
    ]
    callback_allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CIDR...",
            help="A network callbacks may be sent to, besides this machine; can be given again.",
        ),
    ]
    callback_give_up: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="When an undeliverable callback is given up [default: 86400].",
        ),
    ]
    concurrency: _Concurrency
    task_processes: _TaskProcesses
    queues: _Queues
    processes: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Local subworker processes, up to 1024; 0 for a coordinator only [default: one "
            "less than there are CPUs, 1 to 4].",
        ),
    ]
    grace: _Grace
    allow_pickle: _AllowPickle
    insecure: Annotated[
        bool | None,
        typer.Option(help="Listen beyond this machine without TLS and a token."),
    ]
    token_file: _TokenFile
    tls_cert: _TlsCert
    tls_key: _TlsKey
    tls_client_ca: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="The certificates that a peer's own must be signed by; without one nobody is let "
            "in.",
        ),
    ]
    no_gui: Annotated[bool | None, typer.Option("--no-gui", help=_LATER)]
    gui_host: Annotated[str | None, typer.Option(help=_LATER)]
    gui_port: Annotated[int | None, typer.Option(help=_LATER)]
    log_level: _LogLevelOfServer


class SubworkerOptions(TypedDict, total=False):
    """Name the settings of `fastqueue subworker`."""

    worker_id: Annotated[
        str | None, typer.Option(help="Its name in results and logs [default: HOST-PROCESS].")
    ]
    control_plane_address: _ControlPlaneAddress
    task_modules: TaskModules
    discovery_address: _DiscoveryAddress
    concurrency: _Concurrency
    task_processes: _TaskProcesses
    queues: _Queues
    processes: Annotated[int | None, typer.Option(min=1, help="Subworker processes [default: 1].")]
    grace: _Grace
    allow_pickle: _AllowPickle
    token_file: _TokenFile
    tls_ca: _TlsCa
    tls_cert: _TlsCert
    tls_key: _TlsKey
    log_level: _LogLevelOfServer


class ClientOptions(TypedDict, total=False):
    """Name the settings of the commands that ask a control plane for something."""

    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="How long to wait for the answer [default: 30]."),
    ]
    control_plane_address: _ControlPlaneAddress
    discovery_address: _DiscoveryAddress
    token_file: _TokenFile
    tls_ca: _TlsCa
    tls_cert: _TlsCert
    tls_key: _TlsKey
    log_level: LogLevelOfClient


class SubmissionOptions(TypedDict, total=False):
    """Name what may be asked for of one submission; as `fastqueue.client.options` does."""

    queue: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Where it waits [default: as the definition says that a connected subworker "
            "offers, or else: default].",
        ),
    ]
    fair_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help="Whose it is, for shares and limits: fair keys take turns."
        ),
    ]
    unique_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="What makes it the same as another of its name, for the next three [default: its "
            "arguments].",
        ),
    ]
    unique_for: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="So long, another submission under the key is this one: its id is printed.",
        ),
    ]
    debounce: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Wait so long for another submission under the key, which takes its place.",
        ),
    ]
    latest_wins: Annotated[
        bool | None,
        typer.Option(
            "--latest-wins", help="Cancel the one before it under the key, even if that runs."
        ),
    ]
    eta: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Don't start it before this time, in ISO 8601 with an offset: "
            "2026-03-01T09:30:00+01:00.",
        ),
    ]
    countdown: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Don't start it before so many seconds have passed."),
    ]
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="SECONDS|TIME",
            help="Cancel it if it hasn't started by then: in so many seconds, or at a time as for "
            "--eta.",
        ),
    ]
    retries: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="How often it is tried again after a failure [default: as its definition says].",
        ),
    ]
    backoff: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="The wait before the first retry, doubled for each one after it [default: as its "
            "definition says].",
        ),
    ]
    backoff_max: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="The longest such wait [default: as its definition says]."
        ),
    ]
    soft_time_limit: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="How long an attempt may run before an error that it may catch is raised in it "
            "[default: as its definition says].",
        ),
    ]
    time_limit: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="How long an attempt may run before it is ended [default: as its definition "
            "says].",
        ),
    ]
    batch: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The batch it is counted in; see `fastqueue batch`."),
    ]


class SubmitCommandOptions(SubmissionOptions, ClientOptions, total=False):
    """Name the settings of `fastqueue submit`, and what it may ask for of its task."""

    require_worker: Annotated[
        bool | None,
        typer.Option(
            "--require-worker",
            help="Refuse it if no connected subworker offers it; by default it waits for one.",
        ),
    ]


_P = ParamSpec("_P")


def settings_as_options(command: Callable[_P, None]) -> Callable[_P, None]:
    """Make each of the settings in a command's `**given: Unpack[...]` an option of it.

    The parser finds the options of a command in its signature, and knows no `**given`.
    """
    signature = inspect.signature(command, eval_str=True)
    *own, given = signature.parameters.values()
    (settings,) = get_args(given.annotation)
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, option in get_type_hints(settings, include_extras=True).items()
    ]
    command.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    return command
