"""Own what the client knows of the tasks that connected subworkers offer.

The control plane tells it at the start of a session, and again when it changes. So a call's
arguments are checked, and its queue found, without asking anybody. What is known may be old: before
a call is refused the control plane is asked once, and only what it says then counts.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastqueue.errors import InvalidArguments
from fastqueue.protocol import messages as msg
from fastqueue.tasks.naming import describe_unoffered
from fastqueue.tasks.signatures import Signature, decode_signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fastqueue.client.requests import Requests
    from fastqueue.core.records import Offer
    from fastqueue.link.connection import Connection

__all__ = ["Doubt", "KnownOffers", "OfferedTask", "show_signatures"]

# Names of which it is known that nobody offers them, if not all that is offered is told.
_UNOFFERED_MAX = 10_000


def show_signatures(answer: dict[str, Any]) -> None:
    """Put words in place of the encoded signatures in the control plane's answer on `offers`."""
    for row in answer["offers"]:
        signature = decode_signature(row["signature"])
        row["signature"] = (
            f"{row['name']}(?)" if signature is None else signature.shown(row["name"])
        )


class Doubt(Exception):  # noqa: N818 - never seen by users
    """Say that the control plane is to be asked about a name before a call of it can go on.

    Args:
        name: the task's.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class OfferedTask:
    """Hold what is offered under one name; signatures are decoded at its first call.

    Args:
        offers: its different offers, the youngest last.
        validates: whether calls are checked.
    """

    __slots__ = ("_encoded", "_signatures", "fewest", "most", "name", "queue")

    def __init__(self, offers: Sequence[Offer], *, validates: bool) -> None:
        self.name = offers[0].name
        # If they differ, that of the version that came last.
        self.queue = next((offer.queue for offer in reversed(offers) if offer.queue), "")
        self._encoded = [offer.signature for offer in offers] if validates else []
        self._signatures: list[Signature] | None = None
        # So many positional arguments alone are right for certain: the most usual call, and the
        # quickest to check. None are, before the first call.
        self.fewest, self.most = 0, -1

    def signatures(self) -> list[Signature]:
        """Return its signatures, none if one of them is unknown: that one may take anything."""
        if self._signatures is None:
            decoded = [decode_signature(encoded) for encoded in self._encoded]
            known = [signature for signature in decoded if signature is not None]
            self._signatures = known if len(known) == len(decoded) else []
            if self._signatures:
                self.fewest, self.most = self._signatures[-1].certain
        return self._signatures

    def takes(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Say whether one of the versions may take these arguments."""
        signatures = self._signatures
        if signatures is None:
            signatures = self.signatures()
        for signature in signatures:
            if signature.problem(args, kwargs) is None:
                return True
        return not signatures

    def refusal(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> InvalidArguments:
        """Return the error for arguments that none of the versions takes."""
        name, signature = self.name, self.signatures()[-1]
        problem = signature.problem(args, kwargs)
        assert problem is not None
        shown = " or ".join(dict.fromkeys(one.shown(name) for one in reversed(self.signatures())))
        return InvalidArguments(
            f"task {name!r} can't be called so: {problem.message}; its signature is {shown}",
            task_name=name,
            argument=problem.argument,
            signature=shown,
        )


class KnownOffers:
    """Hold what the control plane told of what is offered.

    Args:
        requests: what asks the control plane.
        validates: whether calls are checked.

    Attributes:
        told: set once the control plane has told, or won't.
    """

    def __init__(self, requests: Requests, *, validates: bool) -> None:
        self._requests = requests
        self._validates = validates
        self._by_name: dict[str, OfferedTask] = {}
        self._is_known = False
        # Whether a name that isn't among them is one that nobody offers.
        self._is_complete = True
        self._unoffered: set[str] = set()
        self.told = asyncio.Event()

    # -- what calls ask

    def check(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        surely: bool = False,
    ) -> str:
        """Check a call by name and arguments; return the queue of its definition, if it is known.

        Args:
            name: the task's name.
            args: its positional arguments.
            kwargs: its keyword arguments.
            surely: whether the control plane was asked just now.

        Raises:
            InvalidArguments: no connected subworker can take these arguments.
            Doubt: it is to be asked, and then to be called again with `surely`.
        """
        offered = self._by_name.get(name)
        if offered is None:
            if not self._is_complete and not surely and name not in self._unoffered:
                raise Doubt(name)
            return ""
        if not kwargs and offered.fewest <= len(args) <= offered.most:
            return offered.queue
        if not offered.takes(args, kwargs):
            if surely:
                raise offered.refusal(args, kwargs)
            raise Doubt(name)
        return offered.queue

    async def ask(self, name: str) -> None:
        """Learn what is offered under a name now.

        Raises:
            ControlPlaneUnavailable: none answered in time.
        """
        answer: msg.OffersFound = await self._requests.ask(
            lambda request: msg.FindOffers(request, [name])
        )
        self._by_name.pop(name, None)
        self._add(answer.offers)
        if not answer.offers and not self._is_complete:
            if len(self._unoffered) >= _UNOFFERED_MAX:
                self._unoffered.clear()
            self._unoffered.add(name)

    def why_waits(self, name: str) -> str | None:
        """Return that nobody offers a name, as far as is known; None if somebody does."""
        if not self._is_known or name in self._by_name:
            return None
        if self._is_complete:
            return describe_unoffered(name, sorted(self._by_name))
        if name in self._unoffered:
            return f"no connected subworker offers a task named {name!r}"
        return None

    def hint(self, name: str) -> str:
        """Return the same as the end of an error."""
        why = self.why_waits(name)
        return f"; {why}" if why else ""

    # -- what the connection tells

    def on_offered(self, message: msg.Offered) -> None:
        """Take what is offered now, in place of what was."""
        self._by_name.clear()
        self._unoffered.clear()
        self._is_known, self._is_complete = True, message.is_complete
        self._add(message.offers)
        self.told.set()

    def on_connected(self, connection: Connection, *, is_told: bool) -> None:
        """Ask to be told; what was known before counts until then, unless nothing `is_told`."""
        self.told.clear()
        if is_told:
            connection.send(msg.encode(msg.WatchOffers()))
        else:
            # A control plane that doesn't tell can't be asked either.
            self.on_offered(msg.Offered([], is_complete=True))
            self._is_known = False

    def _add(self, offers: Iterable[Offer]) -> None:
        by_name: dict[str, list[Offer]] = {}
        for offer in offers:
            by_name.setdefault(offer.name, []).append(offer)
        for name, same_name in by_name.items():
            self._by_name[name] = OfferedTask(same_name, validates=self._validates)
