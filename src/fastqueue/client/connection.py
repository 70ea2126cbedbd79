"""Own the client's side of the connection: submissions, requests and results meet in it."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from fastqueue.client.deadlines import Deadlines
from fastqueue.client.offers import KnownOffers
from fastqueue.client.requests import IDS_MAX, Requests
from fastqueue.client.results import Results
from fastqueue.client.submissions import Submissions
from fastqueue.client.watching import Feeds
from fastqueue.link.dialer import Dialer
from fastqueue.protocol import greetings
from fastqueue.protocol import messages as msg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastqueue.config import ClientSettings
    from fastqueue.link.connection import Connection

__all__ = ["ClientConnection"]

logger = logging.getLogger(__name__)


class ClientConnection:
    """Hold everything that lives from `start` to `stop` of a client, on one event loop.

    Args:
        settings: the client's settings.
        instance: the client's id, under which results are pushed to it.
        name: who it is, for the control plane's log.
    """

    def __init__(self, settings: ClientSettings, *, instance: str, name: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.results = Results(settings.result_cache_size)
        self.dialer = Dialer(
            self,
            role=greetings.ROLE_CLIENT,
            instance=instance,
            name=name,
            control_plane_address=settings.control_plane_address,
            discovery_address=settings.discovery_address,
            security=settings.security,
        )
        self.submissions = Submissions(
            self.results,
            timeout_s=settings.timeout_s,
            retries=settings.retries,
            where=self._where,
        )
        # Of calls that wait for a result.
        self.deadlines = Deadlines(self.loop, settings.timeout_s)
        self.requests = Requests(timeout_s=settings.timeout_s, where=self._where)
        self.feeds = Feeds(self.requests)
        self.offers = KnownOffers(self.requests, validates=settings.validate)
        self.connected = asyncio.Event()
        self.payload_bytes_max: int | None = None
        self._is_closed = False
        self._watching: set[asyncio.Task[None]] = set()

    def _where(self) -> str:
        return self.dialer.where

    def close(self, error: Exception) -> None:
        """End everything; whoever still waits gets `error`."""
        self._is_closed = True
        self.dialer.close()
        self.connected.set()  # for a `start` that waits for it, now in vain
        self.offers.told.set()
        for task in self._watching:
            task.cancel()
        self.submissions.fail_all(error)
        self.requests.fail_all(error)
        self.results.fail_all(error)
        self.deadlines.stop()
        self.feeds.stop()

    async def watch(self, task_ids: Sequence[str]) -> None:
        """Have the results of these tasks pushed; waiters of unknown ones learn that at once.

        Raises:
            ControlPlaneUnavailable: it didn't answer in time.
            Overloaded: this client watches too many tasks that it didn't submit.
        """
        for start in range(0, len(task_ids), IDS_MAX):
            some = list(task_ids[start : start + IDS_MAX])
            answer: msg.Watched = await self.requests.ask(partial(_watch, task_ids=some))
            self.results.give_up(answer.unknown)

    # -- what the dialer calls

    def on_connected(self, connection: Connection, welcome: greetings.Welcome) -> None:
        """Say again what wasn't acknowledged, and ask for what was missed."""
        logger.debug("connected to control plane %s", welcome.control_plane_id)
        self.payload_bytes_max = welcome.payload_bytes_max
        self.offers.on_connected(connection, is_told=welcome.offers)
        self.submissions.on_connected(connection)
        self.requests.on_connected(connection)
        unfinished = self.results.unfinished()
        if unfinished:
            self._watch_soon(unfinished)
        self.feeds.on_connected()
        self.connected.set()

    def _watch_soon(self, task_ids: list[str]) -> None:
        task = self.loop.create_task(self._watch_again(task_ids))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    async def _watch_again(self, task_ids: list[str]) -> None:
        try:
            await self.watch(task_ids)
        except (ConnectionError, RuntimeError) as error:
            # The next connection asks again; a waiter has a time-out of its own.
            logger.debug("results weren't asked for: %s", error)

    def on_frames(self, bodies: list[bytes]) -> None:
        """Take frames from the control plane.

        Raises:
            ProtocolError: one can't be understood.
        """
        for body in bodies:
            message = msg.decode_to_client(body)
            match message:
                case msg.Push():
                    self.results.push(message.results)
                case msg.Expired():
                    self.results.give_up(message.task_ids)
                case msg.Happened():
                    self.feeds.take(message.happenings)
                case msg.Following():
                    self.feeds.begin(message.happening)
                    self.requests.on_answer(message)
                case msg.Offered():
                    self.offers.on_offered(message)
                case msg.Submitted():
                    self.submissions.on_submitted(message)
                    if message.same:
                        self._watch_soon([same_as for _, same_as in message.same])
                case _:
                    self.requests.on_answer(message)

    def on_disconnected(self, reason: Exception | None) -> None:
        """Keep what isn't acknowledged for the next connection."""
        if not self._is_closed:
            why = reason or "it hung up"
            logger.info("the connection to the control plane ended (%s); connecting anew", why)
        self.connected.clear()
        self.submissions.on_disconnected()
        self.requests.on_disconnected()

    def on_writable(self) -> None:
        """Do nothing: what is unacknowledged is bounded by a window of its own."""

    def on_refused(self, why: str) -> None:
        """Say why the control plane won't have us; errors repeat it."""
        logger.error("%s", why)
        self.submissions.refusal = self.requests.refusal = why


def _watch(request: int, task_ids: list[str]) -> msg.Watch:
    return msg.Watch(request, task_ids)
