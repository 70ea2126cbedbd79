"""Own what processes must believe of each other, and hold, once nothing happens any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.stack.world import World

__all__ = ["check_agreement", "connections_due", "sessions_of"]


def sessions_of(world: World) -> set[int]:
    """Return the sessions of the control plane."""
    return set(world.control_plane.server._by_number)


def connections_due(world: World) -> int:
    """Return how many there are: a client has one, a subworker a second for its heartbeats."""
    return len(world.clients) + 2 * len(world.subworkers)


def check_agreement(world: World) -> None:
    """Assert that all processes of a quiet world believe the same and hold nothing that is over."""
    _check_subworkers(world)
    _check_clients(world)
    server, claim = world.control_plane.server, world.ledger.claim
    count = connections_due(world)
    claim(len(server._by_number) == count, f"there are {len(server._by_number)} sessions")
    claim(len(server._by_connection) == count, f"there are {server._by_connection} connections")
    claim(not server._strangers, "somebody is in and counts as a stranger")
    claim(not server._held_back, "somebody is held back, and there is nothing to do")


def _check_subworkers(world: World) -> None:
    engine, claim = world.control_plane.engine, world.ledger.claim
    assert engine is not None
    workers = {worker.worker_id: worker for worker in engine.core.state.workers}
    for member in world.subworkers:
        assert member.subworker is not None
        runtime, worker = member.subworker._runtime, workers.get(member.name)
        assert runtime is not None
        claim(worker is not None and worker.session, f"{member.name} isn't connected")
        if worker is not None:
            capacity = runtime.held.capacity
            claim(worker.capacity == capacity, f"{member.name} holds {capacity}")
            claim(worker.heartbeat_session, f"{member.name} isn't known to be alive")
        claim(not runtime.reports.unacknowledged, f"{member.name} waits for acknowledgements")
        claim(not runtime.running.tasks, f"{member.name} is idle and has no free slot")
        claim(runtime.held.quiet.is_set(), f"{member.name} doesn't know that it is idle")


def _check_clients(world: World) -> None:
    for member in world.clients:
        assert member.client is not None
        connection = member.client._connection
        assert connection is not None
        submissions, requests, results = (
            connection.submissions,
            connection.requests,
            connection.results,
        )
        left = {
            "submissions": (submissions._open, submissions._waiting, submissions._sent),
            "refused submissions": (submissions._retrying,),
            "requests": (requests._unanswered, requests._parts, requests._queries),
            "waiters": (results._waiters, results._unacknowledged),
            "watches": (connection._watching,),
            "tasks whose result it wasn't told": (results.unfinished(),),
        }
        for what, held in left.items():
            world.ledger.claim(not any(held), f"{member.name} is idle and has {what}: {held}")
