"""Own what sessions are owed from the store: results to push, queries to answer, leases to send.

Results and payloads may be large and a peer may be slow, so nothing is read before the peer can
take it: what is owed waits here as ids, and is served a chunk at a time, as fast as each peer
reads. The engine calls `serve` between its commit and its next transaction, when the store may be
read.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

from fastqueue.core.lanes import SEQUENCE_BITS
from fastqueue.core.records import Happening, Result
from fastqueue.protocol import messages as msg
from fastqueue.protocol.messages import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from fastqueue.control_plane.engine import Peers
    from fastqueue.control_plane.payload_cache import PayloadCache
    from fastqueue.core.core import Core
    from fastqueue.core.records import Lease
    from fastqueue.store.base import Store

__all__ = ["CHUNK_BYTES_GOAL", "StoredAnswers"]

logger = logging.getLogger(__name__)

# One session's share of a turn; the next session doesn't wait for more than this.
CHUNK_BYTES_GOAL = 1024**2
_CHUNK_RESULTS_MAX = 1_000
# A session that is owed more than this many answers isn't read from until it has caught up.
_ANSWERS_HIGH = 64
# One that is owed this many pushes is cut off; it connects anew and asks for what it misses.
_PUSHES_MAX = 200_000


class _Pushes:
    """Owe results to be pushed, as they are in the store when their turn comes."""

    def __init__(self) -> None:
        self.task_ids: deque[str] = deque()

    def take(self, store: Store) -> tuple[list[bytes], bool]:
        """Return the next frames, and whether that was all."""
        results: list[Result] = []
        expired: list[str] = []
        size = 0
        while self.task_ids and size < CHUNK_BYTES_GOAL and len(results) < _CHUNK_RESULTS_MAX:
            task_id = self.task_ids.popleft()
            found = store.find_results((task_id,))
            if task_id in found:
                results.append(found[task_id])
                size += found[task_id].size_bytes
            else:
                expired.append(task_id)
        frames = [encode(msg.Push(results))] if results else []
        if expired:
            frames.append(encode(msg.Expired(expired)))
        return frames, not self.task_ids


class _Answer:
    """Owe the answer to a query, in as many parts as its size asks for."""

    def __init__(
        self, core: Core, request: int, task_ids: Sequence[str], live: Mapping[str, Result]
    ) -> None:
        self._core = core
        self._request = request
        self._task_ids = task_ids
        self._live = live
        self._position = 0

    def take(self, store: Store) -> tuple[list[bytes], bool]:
        """Return the next frames, and whether that was all."""
        results: list[Result | None] = []
        size = 0
        while self._position < len(self._task_ids) and size < CHUNK_BYTES_GOAL:
            result = self._find(store, self._task_ids[self._position])
            self._position += 1
            results.append(result)
            size += result.size_bytes if result is not None else 0
        is_last = self._position == len(self._task_ids)
        return [encode(msg.Found(self._request, results, is_last))], is_last

    def _find(self, store: Store, task_id: str) -> Result | None:
        result = self._live.get(task_id) or store.find_results((task_id,)).get(task_id)
        if result is not None:
            return result
        stored = store.find_live((task_id,)).get(task_id)
        if stored is not None:
            lanes = self._core.state.lanes.by_id
            belongs = stored.belongs
            name = belongs[2] if belongs else lanes[stored.key >> SEQUENCE_BITS].name
            waits_for = self._core.state.unoffered.waits_for(name, stored.status)
            return Result(
                task_id,
                stored.status,
                name,
                stored.attempt,
                stored.format,
                waits_for=waits_for,
            )
        if store.find_evicted((task_id,)):
            logger.info("the result of task %s was asked for, but is evicted", task_id)
        return None


class _Offers:
    """Owe what subworkers offer, as it is when its turn comes."""

    def __init__(self, frame: Callable[[], bytes]) -> None:
        self._frame = frame

    def take(self, store: Store) -> tuple[list[bytes], bool]:  # noqa: ARG002 - as the others
        """Return the frame, and that this was all."""
        return [self._frame()], True


class _Leases:
    """Owe leases to a subworker that is behind; those that have ended meanwhile aren't sent."""

    def __init__(self, core: Core, payloads: PayloadCache) -> None:
        self._core = core
        self._payloads = payloads
        self.leases: deque[tuple[Lease, int]] = deque()

    def take(self, store: Store) -> tuple[list[bytes], bool]:
        """Return the next frames, and whether that was all."""
        sent: list[Lease] = []
        size = 0
        while self.leases and size < CHUNK_BYTES_GOAL and len(sent) < _CHUNK_RESULTS_MAX:
            lease, key = self.leases.popleft()
            task = self._core.state.tasks.get(lease.task_id)
            if task is not None and task.token == lease.token:
                payload = self._payloads.take(key)
                lease.payload = store.read_payloads((key,))[key] if payload is None else payload
                if lease.checkpoint is not None:
                    lease.checkpoint = store.read_checkpoint(lease.task_id)
                sent.append(lease)
                size += len(lease.payload) + len(lease.checkpoint or b"")
        return [encode(msg.Leases(sent))] if sent else [], not self.leases


class _Standings:
    """Owe a follower that is behind how things stand with tasks, once it can take it."""

    def __init__(self, core: Core, session: int) -> None:
        self._core = core
        self._session = session
        self.task_ids: dict[str, None] = {}

    def take(self, store: Store) -> tuple[list[bytes], bool]:
        """Return the next frame, and whether that was all."""
        state = self._core.state
        task_id = next(iter(self.task_ids))
        del self.task_ids[task_id]
        task = state.tasks.get(task_id)
        frames: list[bytes] = []
        # One that is over is told of by its result.
        if self._session in state.followed.followers.get(task_id, ()):
            stored = store.find_live((task_id,)).get(task_id) if task is None else None
            if task is not None:
                frames.append(encode(msg.Happened([state.followed.standing(task)])))
            elif stored is not None:
                told = Happening(task_id, stored.attempt, stored.status)
                frames.append(encode(msg.Happened([told])))
        return frames, not self.task_ids


class StoredAnswers:
    """Hold what each session is owed, in order."""

    def __init__(self, store: Store, core: Core, payloads: PayloadCache) -> None:
        self._store = store
        self._core = core
        self._payloads = payloads
        self._offered = (-1, b"")
        self._owed: dict[int, deque[_Pushes | _Answer | _Offers | _Leases | _Standings]] = {}

    def owes(self, session: int) -> bool:
        """Say whether a session is owed anything."""
        return session in self._owed

    def push(self, session: int, task_ids: Iterable[str]) -> None:
        """Owe results to be pushed."""
        owed = self._owed.setdefault(session, deque())
        last = owed[-1] if owed else None
        if not isinstance(last, _Pushes):
            last = _Pushes()
            owed.append(last)
        last.task_ids.extend(task_ids)

    def answer(
        self, session: int, request: int, task_ids: Sequence[str], live: Mapping[str, Result]
    ) -> None:
        """Owe the answer to a query; `live` are the results the core has given already."""
        answer = _Answer(self._core, request, task_ids, live)
        self._owed.setdefault(session, deque()).append(answer)

    def tell_offers(self, session: int) -> None:
        """Owe what subworkers offer; it is told once, however often it changes until then."""
        owed = self._owed.setdefault(session, deque())
        if not any(isinstance(one, _Offers) for one in owed):
            owed.append(_Offers(self._offers_frame))

    def _offers_frame(self) -> bytes:
        """Return the frame that tells what is offered; every client gets the same one."""
        offers = self._core.state.workers.offers
        if self._offered[0] != offers.version:
            told = list(offers) if offers.is_small else []
            self._offered = (offers.version, encode(msg.Offered(told, offers.is_small)))
        return self._offered[1]

    def lease(self, session: int, leases: Iterable[Lease], keys: Iterable[int]) -> None:
        """Owe leases, by the keys of their tasks."""
        owed = self._owed.setdefault(session, deque())
        last = owed[-1] if owed else None
        if not isinstance(last, _Leases):
            last = _Leases(self._core, self._payloads)
            owed.append(last)
        last.leases.extend(zip(leases, keys, strict=True))

    def catch_up(self, session: int, task_id: str) -> None:
        """Owe how things stand with a task, whatever has happened to it until then."""
        owed = self._owed.setdefault(session, deque())
        standings = next((one for one in owed if isinstance(one, _Standings)), None)
        if standings is None:
            standings = _Standings(self._core, session)
            owed.append(standings)
        standings.task_ids[task_id] = None

    def serve(self, peers: Peers) -> bool:
        """Send each session that can take it the next chunk; say whether one can take more."""
        more = False
        for session in list(self._owed):
            owed = self._owed[session]
            writable = peers.is_writable(session)
            if writable is None:
                del self._owed[session]
                continue
            if writable:
                frames, is_done = owed[0].take(self._store)
                if is_done:
                    owed.popleft()
                peers.send(session, frames)
            if not owed:
                del self._owed[session]
                peers.read_again(session)
            elif len(owed) > _ANSWERS_HIGH:
                peers.hold_back(session)
            elif isinstance(owed[0], _Pushes) and len(owed[0].task_ids) > _PUSHES_MAX:
                peers.close(session, f"it is {_PUSHES_MAX:,} results behind")
            more = more or (bool(owed) and peers.is_writable(session) is True)
        return more
