"""Own the list of peers: their versions, how each is run at its best, how durable it is then."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.peers.works import PAYLOAD, SLEEP, Work

Command = tuple[str, ...]
"""Arguments of the Python of the peer's environment; the names in braces are filled in: `{store}`,
`{choice}`, `{discovery}` (an address), `{port}` (a free one)."""

REDIS = "Redis, nothing on disk"
REDIS_FSYNC = "Redis, appendfsync always"
POSTGRESQL = "PostgreSQL, synchronous_commit on"
FILE = "a file of the peer's own"
ADDRESS = "a process of the peer's own"


@dataclass(frozen=True)
class Variant:
    """Be one way to store a peer's tasks: a row of the report."""

    store: str
    choice: str = ""
    label: str = ""
    noops_only: bool = False
    """Whether it is left out where tasks do something: the peer has a faster one."""

    @property
    def text(self) -> str:
        return self.label or self.store


@dataclass(frozen=True)
class Peer:
    """Be one task queue: what is installed, what is run."""

    name: str
    requires: Command
    worker: Command
    variants: tuple[Variant, ...]
    prepare: Command = ()
    service: Command = ()
    env: tuple[tuple[str, str], ...] = ()
    python_min: tuple[int, int] = (3, 11)
    backlog: bool = True
    """Whether tasks can be submitted while the worker is stopped."""
    note: str = ""
    worker_sleeping: Command = ()
    """How the worker is started to run 100 tasks that sleep at one time, if otherwise."""
    cannot: tuple[tuple[Work, str], ...] = ()
    """What it can't do, and why."""
    remarks: tuple[tuple[Work, str], ...] = ()
    """What is to be said of its figures."""


_HIREDIS = "hiredis==3.5.0"
# What some import and don't require.
_TYPING = "typing-extensions==4.16.0"
_UVLOOP = "uvloop==0.23.0"

_FASTQUEUE_WORKER = (
    *("-m", "fastqueue", "subworker", "--task-modules", "fastqueue_peer"),
    *("--control-plane-address", "{store}", "--log-level", "warning"),
)

FASTQUEUE = Peer(
    name="fastqueue",
    requires=(),
    service=(
        *("-m", "fastqueue", "control-plane", "--processes", "0", "--base-address", "{store}"),
        *("--discovery-address", "{discovery}", "--durability", "{choice}"),
        *("--log-level", "warning", "--result-cache-size", "50000"),
    ),
    worker=_FASTQUEUE_WORKER,
    variants=(
        Variant(ADDRESS, "full", "SQLite, every acknowledgement after an fsync (full)"),
        Variant(ADDRESS, "normal", "SQLite, no fsync (normal)"),
    ),
    note="coroutines, 32 at one time",
    worker_sleeping=(*_FASTQUEUE_WORKER, "--concurrency", "100"),
)

_CELERY_WORKER = (
    *("-m", "celery", "-A", "celery_peer", "worker"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "ERROR"),
)
_DRAMATIQ_WORKER = ("-m", "dramatiq", "dramatiq_peer", "--processes", "1", "--threads")
_HUEY_WORKER = (
    *("-m", "huey.bin.huey_consumer", "huey_peer.huey", "--quiet", "--no-periodic"),
    *("--delay", "0.005", "--max-delay", "0.005", "--backoff", "1", "--workers"),
)
_PROCRASTINATE_WORKER = (
    *("-m", "procrastinate", "--app", "procrastinate_peer.app", "worker", "--concurrency"),
)
_NO_RESULTS = ((PAYLOAD, "only there"),)

PEERS = (
    FASTQUEUE,
    Peer(
        name="celery",
        requires=("celery[redis]==5.7.0", "redis==8.1.0", _HIREDIS),
        worker=(*_CELERY_WORKER, "--pool", "solo"),
        worker_sleeping=(*_CELERY_WORKER, "--pool", "threads", "--concurrency", "100"),
        variants=(Variant(REDIS), Variant(REDIS_FSYNC, noops_only=True)),
        note="pool solo, no gossip, mingle or heartbeat; prefetch 100",
    ),
    Peer(
        name="dramatiq",
        requires=("dramatiq[redis]==2.2.1", "redis==8.1.0", _HIREDIS),
        worker=(*_DRAMATIQ_WORKER, "8"),
        worker_sleeping=(*_DRAMATIQ_WORKER, "100"),
        # By default it prefetches 2 for each thread, and its threads wait for it.
        env=(("dramatiq_queue_prefetch", "100"),),
        variants=(Variant(REDIS), Variant(REDIS_FSYNC, noops_only=True)),
        note="1 process of 8 threads, as by default a process; 100 prefetched",
    ),
    Peer(
        name="huey",
        requires=("huey==3.5.4", "redis==8.1.0", _HIREDIS),
        worker=(*_HUEY_WORKER, "1"),
        worker_sleeping=(*_HUEY_WORKER, "100"),
        variants=(
            Variant(REDIS, "pushed", f"{REDIS}; results pushed", noops_only=True),
            Variant(REDIS, "polled", f"{REDIS}; results polled", noops_only=True),
            Variant(REDIS_FSYNC, "polled", f"{REDIS_FSYNC}; results polled", noops_only=True),
            Variant(FILE, "no fsync", "SQLite, no fsync"),
            Variant(FILE, "fsync", "SQLite, fsync", noops_only=True),
        ),
        note="1 thread; where results aren't pushed both sides poll every 2 to 5 ms",
    ),
    Peer(
        name="rq",
        requires=("rq==3.0.0", "redis==8.1.0", _HIREDIS),
        worker=(
            *("-m", "rq.cli", "worker", "peer", "--url", "{store}", "--quiet"),
            *("--worker-class", "rq.SimpleWorker"),
        ),
        variants=(Variant(REDIS),),
        note="SimpleWorker, which doesn't fork for each task",
        cannot=((SLEEP, "one at a time a process"),),
    ),
    Peer(
        name="taskiq",
        requires=("taskiq==0.13.0", "taskiq-redis==1.2.4", "redis==8.1.0", _HIREDIS, _UVLOOP),
        worker=(
            *("-m", "taskiq", "worker", "taskiq_peer:broker", "--workers", "1"),
            *("--max-async-tasks", "100", "--max-prefetch", "100", "--log-level", "ERROR"),
        ),
        variants=(Variant(REDIS), Variant(REDIS_FSYNC, noops_only=True)),
        note=(
            "a list as its queue; "
            "coroutines, 100 at one time and 100 prefetched; "
            "results are polled for every 5 ms"
        ),
    ),
    Peer(
        name="arq",
        requires=("arq==0.28.0", "redis==5.3.1", _HIREDIS, _UVLOOP),
        worker=("-m", "arq", "arq_peer.WorkerSettings"),
        variants=(Variant(REDIS),),
        note="coroutines, 100 at one time; it polls every 10 ms, its client every 5",
    ),
    Peer(
        name="saq",
        requires=(
            *("saq[redis,hiredis]==0.26.4", "redis==7.4.1", _HIREDIS, _UVLOOP),
            _TYPING,
        ),
        worker=("-m", "saq", "saq_peer.settings", "--quiet"),
        variants=(Variant(REDIS), Variant(REDIS_FSYNC, noops_only=True)),
        note=(
            "coroutines, 100 at one time; results are polled for every 5 ms; what is missing was "
            "waiting when its worker started, which gave it up as `swept`"
        ),
    ),
    Peer(
        name="streaq",
        requires=("streaq==7.2.0", "coredis==6.9.0", _UVLOOP),
        worker=("-m", "streaq", "run", "streaq_peer:worker"),
        variants=(Variant(REDIS),),
        note="coroutines, 100 at one time; results are pushed",
    ),
    Peer(
        name="repid",
        requires=("repid[redis]==2.1.4", "redis==7.4.1", _HIREDIS, _UVLOOP, _TYPING),
        worker=("-m", "repid_peer"),
        variants=(Variant(REDIS),),
        note=(
            "coroutines; "
            "it keeps no results: the task writes its own into a hash, looked for every ms"
        ),
    ),
    Peer(
        name="procrastinate",
        requires=("procrastinate==3.10.0", "psycopg[binary,pool]==3.3.9", _UVLOOP),
        prepare=("-m", "procrastinate", "--app", "procrastinate_peer.app", "schema", "--apply"),
        worker=(*_PROCRASTINATE_WORKER, "10"),
        worker_sleeping=(*_PROCRASTINATE_WORKER, "100"),
        remarks=_NO_RESULTS,
        variants=(Variant(POSTGRESQL),),
        note=(
            "coroutines, 10 at one time; "
            "it keeps no results: that it succeeded is looked for every 5 ms"
        ),
    ),
    Peer(
        name="pgqueuer",
        requires=("pgqueuer==1.6.0", "asyncpg==0.32.0", _UVLOOP),
        prepare=("-m", "pgqueuer", "--pg-dsn", "{store}", "install"),
        worker=("-m", "pgqueuer_peer"),
        remarks=_NO_RESULTS,
        variants=(
            Variant(POSTGRESQL, "500", f"{POSTGRESQL}; tasks by 500"),
            Variant(POSTGRESQL, "1", f"{POSTGRESQL}; tasks one by one", noops_only=True),
        ),
        note=(
            "coroutines, taken and completed by 500 at most, or one by one; "
            "it keeps no results: that it succeeded is looked for every 2 ms"
        ),
    ),
    Peer(
        name="dbos",
        requires=("dbos==3.4.0",),
        prepare=("-m", "dbos.cli.cli", "migrate", "--sys-db-url", "sqlite:///{store}"),
        worker=(
            "-m",
            "dbos_peer",
        ),
        variants=(Variant(FILE, label="SQLite, fsync"),),
        note="threads, 100 at one time; both sides poll every 5 ms",
    ),
    Peer(
        name="flexiq",
        requires=("flexiq==2.1.0",),
        worker=("-m", "flexiq.cli", "worker", "--app", "flexiq_peer:queue"),
        variants=(Variant(FILE, label="SQLite, no fsync (synchronous NORMAL, no choice)"),),
        note=(
            "coroutines, 100 at one time, taken by 100; "
            "the scheduler polls every ms, the client every 2"
        ),
    ),
    Peer(
        name="fastworker",
        requires=("fastworker==0.3.0", "pynng==0.9.0"),
        backlog=False,
        python_min=(3, 12),
        worker=(
            *("-m", "fastworker.cli", "control-plane", "--task-modules", "fastworker_peer"),
            *("--base-address", "{store}", "--discovery-address", "{discovery}"),
            *("--subworker-port", "{port}", "--no-gui"),
        ),
        variants=(Variant(ADDRESS, label="memory"),),
        note=(
            "its control plane runs the tasks, so that nothing can be submitted while that is "
            "stopped; start contains the 2 s that its client always waits"
        ),
    ),
)
