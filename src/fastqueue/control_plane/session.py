"""Own a session: one peer's connection, who that is, and which command each message becomes.

Made by the server for every connection; it has a number once the peer is admitted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from fastqueue.control_plane.admission import Admission
from fastqueue.core import commands as cmd
from fastqueue.core.records import DEFAULT_QUEUE, Refused, TaskOptions
from fastqueue.core.schedule_records import id_of_definition
from fastqueue.errors import ConfigurationError, ProtocolError
from fastqueue.protocol import greetings
from fastqueue.protocol import messages as msg
from fastqueue.protocol.printable import printable
from fastqueue.tasks.timetable import check_timetable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from fastqueue.core.records import News, NewTask
    from fastqueue.core.schedule_records import ScheduleSpec
    from fastqueue.link.connection import Connection

__all__ = ["Session"]


class Session:
    """Hold what is known of one peer, and understand what it says.

    Args:
        connection: the peer's.
        tokens: what it must prove to have one of, by the name of the setting.
        wall: the time by which clients know when something happened.
        check_callback: raises ConfigurationError for a callback address that may not be dialled.

    Attributes:
        number: what the engine knows it by; 0 if it isn't admitted, or no longer.
        is_over: nothing more is taken from it.
        is_ready: the core knows it; a subworker's only once it said what it holds.
        is_behind: it is owed so much that it isn't read from.
        may_inspect: its token is one for inspecting.
    """

    __slots__ = (
        "_check_callback",
        "_wall",
        "admission",
        "connection",
        "hello_timer",
        "is_behind",
        "is_over",
        "is_ready",
        "may_inspect",
        "number",
    )

    def __init__(
        self,
        connection: Connection,
        tokens: Mapping[str, str],
        wall: Callable[[], float],
        check_callback: Callable[[str], None],
    ) -> None:
        self.connection = connection
        self.admission = Admission(tokens)
        self.hello_timer: asyncio.TimerHandle | None = None
        self.number = 0
        self.is_over = False
        self.is_ready = False
        self.is_behind = False
        self.may_inspect = False
        self._wall = wall
        self._check_callback = check_callback

    @property
    def hello(self) -> greetings.Hello | None:
        """Return how it introduced itself, if it has."""
        return self.admission.hello

    @property
    def who(self) -> str:
        """Return its name for people."""
        hello = self.hello
        return (
            f"{hello.role} {hello.name} at {self.connection.peer}"
            if hello
            else self.connection.peer
        )

    def command(self, message: msg.ToControlPlane) -> cmd.Command:
        """Return what a message of it means, once it is admitted.

        Raises:
            ProtocolError: its role may not send that, or not now.
        """
        hello = self.hello
        assert hello is not None
        match hello.role:
            case greetings.ROLE_CLIENT:
                command = self._client_command(hello, message)
            case greetings.ROLE_HEARTBEAT:
                command = self._heartbeat_command(hello, message)
            case greetings.ROLE_SUPERVISOR:
                command = _supervisor_command(message)
            case _:
                command = self._worker_command(hello, message)
        if command is None:
            raise ProtocolError(f"a {hello.role} may not send {type(message).__name__} now")
        return command

    def _client_command(
        self, hello: greetings.Hello, message: msg.ToControlPlane
    ) -> cmd.Command | None:
        number = self.number
        match message:
            case msg.Submit():
                return self._submit(hello, message)
            case msg.Query():
                return cmd.Query(number, message.request, message.task_ids)
            case msg.Cancel():
                return cmd.Cancel(number, message.request, message.task_ids, self._wall())
            case msg.Watch():
                return cmd.Watch(number, message.request, message.task_ids)
            case msg.ListDead():
                return cmd.ListDead(number, message.request, message.filter)
            case msg.Requeue():
                return cmd.Requeue(number, message.request, message.pairs, self._wall())
            case msg.ChangeQueue():
                _check_printable(message.change.name)
                return cmd.SetQueue(number, message.request, message.change)
            case msg.Purge():
                return cmd.Purge(number, message.request, message.queue)
            case msg.SetRunLimit():
                _check_printable(message.limit.id.name)
                return cmd.SetRunLimit(number, message.request, message.limit)
            case msg.RemoveRunLimit():
                return cmd.RemoveRunLimit(number, message.request, message.id)
            case msg.AskBatch():
                return cmd.AskBatch(number, message.request, message.batch_id, message.after)
            case msg.ListBatches():
                return cmd.ListBatches(number, message.request, message.after, message.limit)
            case msg.Follow():
                return cmd.Follow(number, message.request, message.task_id, message.ends)
            case msg.WatchOffers():
                return cmd.WatchOffers(number)
            case msg.FindOffers():
                return cmd.FindOffers(number, message.request, message.names)
            case msg.Inspect():
                return cmd.Inspect(
                    number, message.request, message.topic, message.task_ids, at=self._wall()
                )
            case msg.PutSchedule(request, spec, replaces):
                return cmd.PutSchedule(
                    number, request, spec, replaces, self._wall(), _problem_of(spec)
                )
            case msg.ChangeSchedule(request, schedule_id, action):
                return cmd.ChangeSchedule(number, request, schedule_id, action, self._wall())
            case msg.RunSchedule(request, schedule_id, task_id):
                return cmd.RunScheduleNow(number, request, schedule_id, task_id, self._wall())
            case msg.ListSchedules():
                return cmd.ListSchedules(
                    number, message.request, message.schedule_id, message.after, message.limit
                )
            case _:
                return None

    def _submit(self, hello: greetings.Hello, message: msg.Submit) -> cmd.Submit:
        tasks, refused = message.tasks, []
        for new in tasks:
            if not (new.name.isprintable() and new.task_id.isprintable()):
                raise ProtocolError(
                    f"the name of a task or its id has an unprintable character in it: "
                    f"{new.name!r} ({new.task_id!r})"
                )
            if new.options is not None or new.queue != DEFAULT_QUEUE:
                _check_texts(new)
            batch = None if new.options is None else new.options.batch
            if batch is not None and not batch.isprintable():
                raise ProtocolError(f"a batch id has an unprintable character in it: {batch!r}")
        if any(new.callback is not None for new in tasks):
            accepted = []
            for new in tasks:
                try:
                    if new.callback is not None:
                        self._check_callback(new.callback.address)
                    accepted.append(new)
                except ConfigurationError as error:
                    refused.append(Refused(new.task_id, "callback_address", str(error)))
            tasks = accepted
        at = self._wall()
        return cmd.Submit(self.number, message.request, hello.instance, at, tasks, refused=refused)

    def _heartbeat_command(
        self, hello: greetings.Hello, message: msg.ToControlPlane
    ) -> cmd.Command | None:
        if not isinstance(message, msg.Heartbeat):
            return None
        return cmd.Heartbeat(
            self.number,
            hello.instance,
            message.blocked_s,
            message.task_name,
            message.task_id,
            "\n".join(printable(line) for line in message.stack.split("\n")),
        )

    def _worker_command(
        self, hello: greetings.Hello, message: msg.ToControlPlane
    ) -> cmd.Command | None:
        number = self.number
        if isinstance(message, msg.Ready) and not self.is_ready:
            self.is_ready = True
            schedules, problems = _schedules_of(message)
            return cmd.WorkerReady(
                number,
                hello.instance,
                hello.name,
                frozenset(message.names),
                message.capacity,
                message.held,
                at_most_once=frozenset(message.at_most_once),
                schedules=schedules,
                problems=problems,
                started_at=message.started_at,
                at=self._wall(),
                queues=frozenset(message.queues),
                run_limits=message.run_limits,
                offers=message.offers,
            )
        if not self.is_ready:
            return None
        match message:
            case msg.Report():
                return cmd.Report(number, message.sequence, message.outcomes, self._wall())
            case msg.GiveBack():
                return cmd.GiveBack(number, message.leases)
            case msg.Capacity():
                return cmd.SetCapacity(number, message.capacity)
            case msg.SaveCheckpoint():
                return cmd.SaveCheckpoint(
                    number, message.sequence, message.task_id, message.token, message.value
                )
            case msg.Tell():
                return cmd.Tell(number, [_shown(news) for news in message.news])
            case _:
                return None


def _problem_of(spec: ScheduleSpec) -> str:
    """Return why a schedule can't be, beyond what its types say; nothing if it can."""
    try:
        check_timetable(spec.timetable)
    except ConfigurationError as error:
        return str(error)
    options = spec.options
    if options is not None and (options.due_at is not None or options.expires_at is not None):
        return "a schedule's runs have no times of their own: it has a timetable, and expires_s"
    if options is not None and options.unique_key:
        return (
            "a schedule's runs have no unique key: what becomes of two at a time says its overlap"
        )
    if options is not None and not (options.batch or "").isprintable():
        return f"its batch has an unprintable character in it: {options.batch!r}"
    if options is not None and not options.fair_key.isprintable():
        return f"its fair_key has an unprintable character in it: {options.fair_key!r}"
    return ""


def _schedules_of(message: msg.Ready) -> tuple[list[ScheduleSpec], list[tuple[str, str]]]:
    """Return the schedules of a subworker's definitions, and those that can't be, with why.

    Raises:
        ProtocolError: one isn't that of a definition.
    """
    schedules, problems = [], []
    for spec in message.schedules:
        if spec.schedule_id != id_of_definition(spec.name):
            raise ProtocolError(f"schedule {spec.schedule_id!r} isn't that of a task definition")
        if problem := _problem_of(spec):
            problems.append((spec.schedule_id, problem))
        else:
            schedules.append(spec)
    return schedules, problems


def _shown(news: News) -> News:
    """Return what a task tells as people may be shown it."""
    progress = news.progress
    if progress is not None and not progress.message.isprintable():
        progress = replace(progress, message=printable(progress.message))
    return replace(news, progress=progress, lines=[printable(line) for line in news.lines])


def _supervisor_command(message: msg.ToControlPlane) -> cmd.Command | None:
    if not isinstance(message, msg.Died):
        return None
    running = None if message.running is None else frozenset(message.running)
    return cmd.WorkerDied(message.instance, message.cause, running)


def _check_texts(new: NewTask) -> None:
    options = new.options or TaskOptions()
    for text in (new.queue, options.fair_key, options.unique_key):
        _check_printable(text)


def _check_printable(text: str) -> None:
    if not text.isprintable():
        raise ProtocolError(f"there is an unprintable character in {text!r:.250}")
