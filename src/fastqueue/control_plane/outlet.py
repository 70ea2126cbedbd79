"""Own how released effects become frames: one write a session and turn, results in bulk.

Runs right after a commit, when the store may be read and nothing in it is uncommitted.
"""

from __future__ import annotations

import logging
import textwrap
from typing import TYPE_CHECKING, TypeVar, assert_never

from msgspec.structs import replace

from fastqueue.core import effects as fx
from fastqueue.core.commands import DueLoaded, ExpiredLoaded, Loaded, PurgedLoaded
from fastqueue.protocol import messages as msg
from fastqueue.protocol.messages import encode
from fastqueue.tasks.models import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from fastqueue.control_plane.engine import Engine, Peers
    from fastqueue.core.effects import Effect
    from fastqueue.core.records import AttemptRecord, DeadLetter, Lease, Result

__all__ = ["release"]

logger = logging.getLogger(__name__)
_Item = TypeVar("_Item")

# A frame is begun anew past this, so that one push of many large results stays under the limit of
# a frame, and the peer can begin before all of it is there.
_FRAME_BYTES_GOAL = 1024**2
_FRAME_ITEMS_MAX = 1_000
# Tasks named in one log line.
_SHOWN_MAX = 5
# Of an error whose traceback is left out; there are up to 1,000 attempts.
_ERROR_SHOWN_MAX = 200
_CALLBACKS_AT_ONCE = 500
_CALLBACK_BYTES_GOAL = 1024**2
# What one turn may push to one session out of memory; more is read back as it is taken. The same
# for the payloads of leases.
_PUSH_BYTES_MAX = 4 * 1024**2


def release(engine: Engine, peers: Peers, effects: Iterable[Effect]) -> None:
    """Carry out the effects of one turn, whose changes are durable."""
    outgoing: dict[int, list[bytes]] = {}
    pushes: dict[int, list[Result]] = {}
    pushed_bytes: dict[int, int] = {}

    def send(session: int, message: object) -> None:
        outgoing.setdefault(session, []).append(encode(message))

    for effect in effects:
        match effect:
            case fx.AcknowledgeSubmit():
                send(
                    effect.session,
                    msg.Submitted(effect.request, list(effect.refused), list(effect.same)),
                )
            case fx.SendLeases():
                frames = _lease_frames(engine, peers, effect)
                outgoing.setdefault(effect.session, []).extend(frames)
            case fx.PushResults():
                _push(engine, peers, effect, pushes, pushed_bytes)
            case fx.AcknowledgeReport():
                send(effect.session, msg.Reported(effect.sequence))
            case fx.PushStored():
                engine.answers.push(effect.session, effect.task_ids)
            case fx.TellExpired():
                send(effect.session, msg.Expired(list(effect.task_ids)))
            case fx.AnswerQuery():
                engine.answers.answer(effect.session, effect.request, effect.task_ids, effect.live)
            case fx.CancelRunning():
                send(effect.session, msg.CancelRunning(list(effect.tasks)))
            case fx.RevokeLeases():
                send(effect.session, msg.Revoked(list(effect.task_ids)))
            case (
                fx.AnswerCancel()
                | fx.AnswerWatch()
                | fx.AnswerInspect()
                | fx.AnswerSchedules()
                | fx.AnswerFollow()
            ):
                send(effect.session, _answer(engine, effect))
            case fx.Refill():
                _refill(engine, effect)
            case fx.AnswerDeadLetters():
                letters = engine.store.list_dead_letters(effect.filter)
                first = next(_chunks(letters, _failure_size), [])
                send(effect.session, msg.Inspected(effect.request, first))
            case fx.AnswerBatch():
                send(effect.session, _answer_batch(engine, effect))
            case fx.AnswerBatches():
                send(effect.session, msg.Inspected(effect.request, list(effect.batches)))
            case fx.LoadDue():
                due = engine.store.read_due(effect.at, effect.limit)
                engine.put_first(DueLoaded(effect.at, due.tasks, due.next_due))
            case fx.LoadExpired():
                _load_expired(engine, effect)
            case fx.LoadPurged():
                _load_purged(engine, effect)
            case fx.RefuseRequest():
                send(effect.session, msg.Failed(effect.request, "overloaded", effect.why, 1.0))
            case fx.DeliverCallbacks():
                owed = engine.store.read_callbacks(
                    effect.address, _CALLBACKS_AT_ONCE, _CALLBACK_BYTES_GOAL
                )
                peers.deliver(effect.address, owed)
            case fx.TellWorkerLost():
                _log_lost_worker(effect)
            case fx.TellQuarantined():
                _log_quarantined(effect)
            case fx.TellBlocked():
                _log_blocked(effect)
            case fx.TellSchedule():
                logger.warning("schedule %s %s", effect.schedule_id, effect.what)
            case fx.AcknowledgeCheckpoint():
                saved = (effect.sequence, effect.refusal, effect.is_lease_lost)
                send(effect.session, msg.CheckpointSaved(*saved))
            case fx.TellFollowers():
                for session in effect.sessions:
                    if peers.is_writable(session) and not engine.answers.owes(session):
                        send(session, msg.Happened([effect.happening]))
                    else:
                        engine.answers.catch_up(session, effect.happening.task_id)
            case fx.TellUnoffered():
                _log_unoffered(effect)
            case fx.TellOffers():
                for session in effect.sessions:
                    engine.answers.tell_offers(session)
            case fx.AnswerOffers():
                send(effect.session, msg.OffersFound(effect.request, list(effect.offers)))
            case fx.CloseSession():
                peers.close(effect.session, effect.reason)
    for session, results in pushes.items():
        bodies = outgoing.setdefault(session, [])
        bodies += (encode(msg.Push(chunk)) for chunk in _chunks(results, _result_size))
    for session, bodies in outgoing.items():
        peers.send(session, bodies)


def _shown(tasks: Sequence[tuple[str, str]]) -> str:
    more = f" and {len(tasks) - _SHOWN_MAX:,} more" if len(tasks) > _SHOWN_MAX else ""
    return ", ".join(f"{name} ({task_id})" for name, task_id in tasks[:_SHOWN_MAX]) + more


def _log_quarantined(effect: fx.TellQuarantined) -> None:
    logger.error(
        "these tasks killed their own process each time that they ran, the last time in subworker "
        "%s; they are quarantined: %s",
        effect.worker_id,
        _shown(effect.tasks),
    )


def _log_lost_worker(effect: fx.TellWorkerLost) -> None:
    if effect.requeued:
        logger.warning(
            "subworker %s %s; what it held is queued again: %s",
            effect.worker_id,
            effect.cause,
            _shown(effect.requeued),
        )
    if effect.quarantined:
        logger.error(
            "subworker %s %s, as did others that ran these tasks; they are quarantined: %s",
            effect.worker_id,
            effect.cause,
            _shown(effect.quarantined),
        )
    if effect.not_repeated:
        logger.error(
            "subworker %s %s; these tasks are to run at most once and have failed: %s",
            effect.worker_id,
            effect.cause,
            _shown(effect.not_repeated),
        )


def _log_blocked(effect: fx.TellBlocked) -> None:
    what = (
        f"task {effect.task_name} ({effect.task_id})"
        if effect.task_id
        else "something that isn't a task"
    )
    logger.warning(
        "the event loop of subworker %s is blocked by %s, for %.1f s so far; nothing else runs on "
        "it meanwhile, and its tasks aren't leased to others:\n%s",
        effect.worker_id,
        what,
        effect.seconds,
        # Whatever is in it, none of its lines looks like one of ours.
        textwrap.indent(effect.stack, "  "),
    )


def _log_unoffered(effect: fx.TellUnoffered) -> None:
    waiting = effect.waiting
    listed = ", ".join(f"{name} ({count:,})" for name, count in waiting[:_SHOWN_MAX])
    more = f" and {len(waiting) - _SHOWN_MAX:,} more" if len(waiting) > _SHOWN_MAX else ""
    logger.warning(
        "tasks wait for a subworker that offers %s%s; none that is connected does; offered are: %s",
        listed,
        more,
        ", ".join(effect.offered) or "none",
    )


def _push(
    engine: Engine,
    peers: Peers,
    effect: fx.PushResults,
    pushes: dict[int, list[Result]],
    pushed_bytes: dict[int, int],
) -> None:
    """Push results out of memory to a session that keeps up; owe them to any other."""
    session = effect.session
    size = pushed_bytes.get(session, 0) + sum(map(_result_size, effect.results))
    if size <= _PUSH_BYTES_MAX and peers.is_writable(session) and not engine.answers.owes(session):
        pushed_bytes[session] = size
        pushes.setdefault(session, []).extend(effect.results)
    else:
        engine.answers.push(session, [result.task_id for result in effect.results])


def _lease_frames(engine: Engine, peers: Peers, effect: fx.SendLeases) -> list[bytes]:
    """Return frames for a subworker that keeps up; owe it what is more than it can take now."""
    take = engine.payloads.take
    size = position = 0
    if peers.is_writable(effect.session) and not engine.answers.owes(effect.session):
        for lease, key in zip(effect.leases, effect.keys, strict=True):
            if size > _PUSH_BYTES_MAX:
                break
            payload = take(key)
            if payload is None:
                payload = engine.store.read_payloads((key,))[key]
            lease.payload = payload
            if lease.checkpoint is not None:
                lease.checkpoint = engine.store.read_checkpoint(lease.task_id)
            size += _lease_size(lease)
            position += 1
    if position < len(effect.leases):
        engine.answers.lease(effect.session, effect.leases[position:], effect.keys[position:])
    return [encode(msg.Leases(chunk)) for chunk in _chunks(effect.leases[:position], _lease_size)]


def _chunks(items: Sequence[_Item], size_of: Callable[[_Item], int]) -> Iterator[list[_Item]]:
    chunk: list[_Item] = []
    size = 0
    for item in items:
        chunk.append(item)
        size += size_of(item)
        if size > _FRAME_BYTES_GOAL or len(chunk) >= _FRAME_ITEMS_MAX:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _fitting(attempts: list[AttemptRecord]) -> list[AttemptRecord]:
    """Return attempts that fit into a frame: the last ones whole, of those before the error."""
    size = 0
    shown = []
    for attempt in reversed(attempts):
        size += _failure_size(attempt)
        if size > _FRAME_BYTES_GOAL:
            attempt = replace(attempt, error=attempt.error[:_ERROR_SHOWN_MAX], traceback=None)
        shown.append(attempt)
    return shown[::-1]


def _failure_size(failure: AttemptRecord | DeadLetter) -> int:
    # In UTF-8 a character takes up to four bytes.
    return 4 * (len(failure.error) + len(failure.traceback or ""))


def _lease_size(lease: Lease) -> int:
    return len(lease.payload) + len(lease.checkpoint or b"")


def _result_size(result: Result) -> int:
    return result.size_bytes


def _refill(engine: Engine, effect: fx.Refill) -> None:
    rows = engine.store.read_window(effect.lane_id, effect.after_key, effect.limit)
    for row in rows:
        if row.payload is not None:
            engine.payloads.put(row.task.key, row.payload)
    tasks = [row.task for row in rows]
    exhausted = len(rows) < effect.limit
    # First of the next turn: nothing may be submitted between the read and its telling.
    engine.put_first(Loaded(effect.lane_id, tasks, exhausted))


def _load_expired(engine: Engine, effect: fx.LoadExpired) -> None:
    rows, next_expiry = engine.store.read_expired(effect.at, effect.limit)
    stored = engine.store.find_live(
        task_id for _, task_id in rows if not engine.core.holds(task_id)
    )
    engine.put_first(ExpiredLoaded(effect.at, rows, stored, next_expiry))


def _load_purged(engine: Engine, effect: fx.LoadPurged) -> None:
    tasks = engine.store.read_delayed(effect.queue, effect.after, effect.last, effect.limit)
    is_last = len(tasks) < effect.limit
    engine.put_first(PurgedLoaded(effect.queue, effect.last, tasks, engine.wall(), is_last))


def _answer(
    engine: Engine,
    effect: (
        fx.AnswerCancel | fx.AnswerWatch | fx.AnswerInspect | fx.AnswerSchedules | fx.AnswerFollow
    ),
) -> object:
    match effect:
        case fx.AnswerSchedules():
            if effect.refusal:
                return msg.Failed(effect.request, effect.code, effect.refusal, 1.0)
            return msg.Inspected(effect.request, effect.answer)
        case fx.AnswerFollow():
            if effect.refused:
                return msg.Failed(effect.request, "overloaded", effect.refused, 1.0)
            return msg.Following(effect.request, effect.happening)
        case fx.AnswerCancel():
            return _answer_cancel(engine, effect)
        case fx.AnswerWatch():
            if effect.refused:
                return msg.Failed(effect.request, "overloaded", effect.refused, 1.0)
            return msg.Watched(effect.request, list(effect.unknown))
        case fx.AnswerInspect(topic="attempts"):
            attempts = {i: _fitting(engine.store.find_attempts(i)) for i in effect.ask_store}
            return msg.Inspected(effect.request, attempts)
        case fx.AnswerInspect():
            evicted = engine.store.find_evicted(effect.ask_store)
            live = engine.store.find_live(effect.ask_store)
            for task_id in effect.ask_store:
                state = "evicted" if task_id in evicted else "unknown"
                found = live.get(task_id)
                effect.answer[task_id] = {"state": found.status.value if found else state}
            return msg.Inspected(effect.request, effect.answer)
        case _:
            assert_never(effect)


def _answer_batch(engine: Engine, effect: fx.AnswerBatch) -> msg.Inspected:
    live: list[str] = []
    if effect.after is not None:
        live = engine.store.list_batch(effect.batch_id, effect.after, msg.BATCH_TASKS_MAX)
    counts = [] if effect.counts is None else [effect.counts]
    return msg.Inspected(effect.request, [counts, live])


def _answer_cancel(engine: Engine, effect: fx.AnswerCancel) -> msg.Cancelled:
    rest = [task_id for task_id in effect.task_ids if task_id not in effect.answers]
    recorded = engine.store.find_statuses(rest)
    answers = []
    for task_id in effect.task_ids:
        status = recorded.get(task_id)
        # One that was cancelled before is cancelled: so a cancellation may be sent again.
        is_cancelled = status is TaskStatus.CANCELLED
        answers.append(effect.answers.get(task_id, (is_cancelled, status)))
    return msg.Cancelled(effect.request, answers)
