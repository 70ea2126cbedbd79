"""What one side encodes the other understands, and bounds hold before anything is acted on."""

from __future__ import annotations

import msgspec
import pytest

from fastqueue.core.records import HeldLease, Lease, NewTask, Outcome, Result
from fastqueue.core.schedule_records import ScheduleSpec
from fastqueue.errors import ProtocolError
from fastqueue.protocol import greetings
from fastqueue.protocol import messages as msg
from fastqueue.tasks.models import TaskStatus
from fastqueue.tasks.timetable import Overlap, Timetable

SPEC = ScheduleSpec(
    "s", Timetable(every_s=60.0), "add", 2, 0, b"[[],{}]", "mail", overlap=Overlap.SKIP
)
_to_control_plane = msgspec.msgpack.Decoder(msg.ToControlPlane).decode
_to_client = msgspec.msgpack.Decoder(msg.ToClient).decode
_to_subworker = msgspec.msgpack.Decoder(msg.ToSubworker).decode


@pytest.mark.parametrize(
    "message",
    [
        msg.Submit(1, [NewTask("a", "add", 2, 0, b"[]")]),
        msg.Cancel(1, ["a"]),
        msg.Query(1, ["a"]),
        msg.Watch(1, ["a"]),
        msg.Inspect(1, "stats"),
        msg.Ready(["add"], 3, [HeldLease("a", 5, 1)]),
        msg.Report(1, [Outcome("a", 5, True, 1.0, 2.0, b"3")]),
        msg.GiveBack([HeldLease("a", 5)]),
        msg.Capacity(7),
        msg.PutSchedule(1, SPEC, True),
        msg.ChangeSchedule(1, "s", "pause"),
        msg.RunSchedule(1, "s", "a"),
        msg.ListSchedules(1, None, "s"),
        msg.Ready(["add"], 3, [], schedules=[SPEC], started_at=5.0),
    ],
)
def test_what_is_sent_to_the_control_plane_arrives(message: object) -> None:
    assert _to_control_plane(msg.encode(message)) == message


def test_what_is_sent_to_clients_and_subworkers_arrives() -> None:
    push = msg.Push([Result("a", TaskStatus.SUCCESS, "add", 1, 0, b"3")])
    leases = msg.Leases([Lease("a", 5, 1, "add", 2, 0, False, b"[]")])
    assert _to_client(msg.encode(push)) == push
    assert _to_subworker(msg.encode(leases)) == leases


@pytest.mark.parametrize(
    "task",
    [
        ["", "add", 2, 0, b""],
        ["x" * 65, "add", 2, 0, b""],
        ["a", "", 2, 0, b""],
        ["a", "add", 4, 0, b""],
        ["a", "add", -1, 0, b""],
        ["a", "add", 2, 9, b""],
        ["a", "add", 2, 0, 5],
        ["a", "add", 2, 0, b"", ["tcp://x:1", b"x" * 70_000]],
    ],
)
def test_a_task_that_breaks_a_bound_is_not_decoded(task: list[object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        _to_control_plane(msg.encode([1, 1, [task]]))


def test_a_request_names_a_bounded_number_of_ids() -> None:
    with pytest.raises(msgspec.ValidationError):
        _to_control_plane(msg.encode(msg.Query(1, ["a"] * 1_001)))


def test_a_hello_can_be_read_whatever_a_later_version_adds_to_it() -> None:
    later = {"type": "hello", "protocol": 9, "role": "client", "instance": "i", "colour": "red"}
    assert greetings.decode_hello(msg.encode(later)).protocol == 9


@pytest.mark.parametrize("body", [b"", b"\xc1", b"GET /", msg.encode({"type": "welcome"})])
def test_what_is_no_hello_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        greetings.decode_hello(body)


@pytest.mark.parametrize("field", ["role", "instance", "name", "version"])
@pytest.mark.parametrize("text", ["a\nforged line", "\x1b[2J", "\u202egnp", "\u2028", "\x9b"])
def test_a_hello_that_would_write_more_than_its_line_is_refused(field: str, text: str) -> None:
    hello = {"type": "hello", "protocol": 1, "role": "client", "instance": "i", field: text}
    with pytest.raises(ProtocolError, match="unprintable") as refused:
        greetings.decode_hello(msg.encode(hello))
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("refusal", {"code": "x", "message": "no\nforged line"}),
        (
            "welcome",
            {
                "protocol": 1,
                "control_plane_id": "\x1b[2J",
                "epoch": 1,
                "frame_bytes_max": 1,
                "payload_bytes_max": 1,
            },
        ),
        ("forged\nline", {}),
    ],
)
def test_a_greeting_that_would_write_more_than_its_line_is_refused(
    kind: str, fields: dict[str, object]
) -> None:
    with pytest.raises(ProtocolError) as refused:
        greetings.decode_greeting(msg.encode({"type": kind, **fields}))
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "message",
    [
        [11, ["add", "a\nb"], 1, []],
        [11, ["add"], 1, [], ["a\nb"]],
        [15, 1.0, "a\nb"],
        [15, 1.0, "", "a\nb"],
        [16, "i", "died\nforged line", None],
        [16, "i\n", "died", None],
    ],
)
def test_what_a_worker_says_for_a_log_line_fits_on_one(message: list[object]) -> None:
    with pytest.raises(ProtocolError, match="unprintable") as refused:
        msg.decode_to_control_plane(msg.encode(message))
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "changed",
    [
        {"schedule_id": ""},
        {"schedule_id": "x" * 206},
        {"schedule_id": "a\nb"},
        {"name": "a\x1bb"},
        {"queue": "a\nb"},
        {"payload": b"x" * (64 * 1024 + 1)},
        {"window_s": float("nan")},
        {"missed": "some"},
        {"timetable": Timetable(every_s=float("inf"))},
        {"timetable": Timetable(every_s=0.0)},
        {"timetable": Timetable(every_s=5.0, anchor_at=float("nan"))},
        {"timetable": Timetable(every_s=5.0, jitter_s=1e9)},
        {"timetable": Timetable(every_s=5.0, count_max=0)},
        {"timetable": Timetable(cron="*" * 201)},
    ],
)
def test_a_schedule_that_breaks_a_bound_is_not_decoded(changed: dict[str, object]) -> None:
    spec = [getattr(SPEC, name) for name in SPEC.__struct_fields__]
    for name, value in changed.items():
        spec[SPEC.__struct_fields__.index(name)] = value
    with pytest.raises(ProtocolError):
        msg.decode_to_control_plane(msg.encode([8, 1, spec]))
