"""Own what the commands about queues and limits do, and `why`; each returns its exit code."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from fastqueue.cli import output
from fastqueue.cli.arguments import parse_span
from fastqueue.cli.asking import ask
from fastqueue.cli.exit_codes import DONE, FAILED, say
from fastqueue.client.queues import check_weight, limit_id
from fastqueue.tasks.policies import check_queue
from fastqueue.tasks.run_policies import parse_rate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from fastqueue import Client
    from fastqueue.tasks.queue_models import RunLimitInfo

__all__ = [
    "run_configure",
    "run_list_limits",
    "run_list_queues",
    "run_pause",
    "run_purge",
    "run_remove_limit",
    "run_resume",
    "run_set_limit",
    "run_why",
]

_OF = ("task_name", "queue", "fair_key", "each_key")


def run_list_queues(given: Mapping[str, Any], *, as_json: bool) -> int:
    """Show all queues."""

    async def show(client: Client) -> int:
        queues = await client.queues.list()
        if as_json:
            output.show_json([dataclasses.asdict(one) for one in queues])
        elif queues:
            output.show_table(
                ("queue", "ready", "running", "a second", "weight", "ageing", "wait limit", ""),
                (
                    (
                        one.name,
                        f"{one.ready:,}",
                        f"{one.running:,}",
                        f"{one.per_second:,.1f}",
                        f"{one.weight:g}",
                        _span(one.ageing),
                        _span(one.wait_limit),
                        "paused" if one.paused else "purging" if one.purging else "",
                    )
                    for one in queues
                ),
            )
        else:
            say("there are no queues with tasks or settings of their own")
        return DONE

    return ask(given, show)


def _span(span: timedelta | None) -> str:
    return "" if span is None else f"{span.total_seconds():g} s"


def run_pause(given: Mapping[str, Any], *, queue: str) -> int:
    """Pause a queue."""
    check_queue(queue)

    async def pause(client: Client) -> int:
        await client.queues.pause(queue)
        say(f"queue {queue!r} is paused; `fastqueue queues resume` lets it go on")
        return DONE

    return ask(given, pause)


def run_resume(given: Mapping[str, Any], *, queue: str) -> int:
    """Let a paused queue go on."""
    check_queue(queue)

    async def resume(client: Client) -> int:
        await client.queues.resume(queue)
        return DONE

    return ask(given, resume)


def run_configure(
    given: Mapping[str, Any],
    *,
    queue: str,
    weight: float | None,
    ageing: str | None,
    wait_limit: str | None,
) -> int:
    """Change settings of a queue.

    Raises:
        ConfigurationError: a value can't be what it is.
    """
    check_queue(queue)
    if weight is not None:
        check_weight(weight)
    asked: dict[str, Any] = {
        name: value
        if value in (None, "unset")
        else parse_span(value, f"--{name.replace('_', '-')}")
        for name, value in (("ageing", ageing), ("wait_limit", wait_limit))
    }

    async def configure(client: Client) -> int:
        await client.queues.configure(queue, weight=weight, **asked)
        return DONE

    return ask(given, configure)


def _parsed(text: str | None, option: str) -> Any:
    return text if text in (None, "unset") else parse_span(text, option)


def run_purge(given: Mapping[str, Any], *, queue: str) -> int:
    """Cancel all that waits in a queue."""
    check_queue(queue)

    async def purge(client: Client) -> int:
        ready = await client.queues.purge(queue)
        say(
            f"queue {queue!r} is purged: {ready:,} tasks that were ready are cancelled, and those "
            "that wait for a time"
        )
        return DONE

    return ask(given, purge)


def run_list_limits(given: Mapping[str, Any], *, as_json: bool) -> int:
    """Show the limits that hold."""

    async def show(client: Client) -> int:
        limits = await client.limits.list()
        if as_json:
            output.show_json([dataclasses.asdict(one) for one in limits])
        elif limits:
            output.show_table(
                ("of", "name", "at once", "running", "rate", "weight", "from"),
                (_limit_row(one) for one in limits),
            )
        else:
            say("there are no limits")
        return DONE

    return ask(given, show)


def _limit_row(one: RunLimitInfo) -> tuple[object, ...]:
    of = {"task": "task", "queue": "queue", "key": "fair key"}[one.scope]
    rate = ""
    if one.rate is not None:
        rate = f"{one.rate:g}/s" + (f" burst {one.burst:,}" if one.burst > 1 else "")
    return (
        f"{of}, each key" if one.each_key else of,
        one.name,
        "" if one.concurrency is None else f"{one.concurrency:,}",
        "" if one.running is None else f"{one.running:,}",
        rate,
        f"{one.weight:g}" if one.scope == "key" else "",
        "definition" if one.defined else "set",
    )


def _apart(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the client's settings, and what a limit is of.

    Raises:
        ConfigurationError: that is nothing, more than one thing, or can't be what it is.
    """
    settings = {name: value for name, value in given.items() if name not in _OF}
    of: dict[str, Any] = {
        "task": given.get("task_name"),
        "queue": given.get("queue"),
        "fair_key": given.get("fair_key"),
        "each_key": bool(given.get("each_key")),
    }
    limit_id(task=of["task"], queue=of["queue"], fair_key=of["fair_key"], each_key=of["each_key"])
    return settings, of


def run_set_limit(
    given: Mapping[str, Any], *, concurrency: int | None, rate: str | None, weight: float
) -> int:
    """Set a limit.

    Raises:
        ConfigurationError: a value can't be what it is.
    """
    settings, of = _apart(given)
    if rate is not None:
        parse_rate(rate, "--rate")

    async def set_(client: Client) -> int:
        await client.limits.set(**of, concurrency=concurrency, rate=rate, weight=weight)
        return DONE

    return ask(settings, set_)


def run_remove_limit(given: Mapping[str, Any]) -> int:
    """Remove a limit that was set.

    Raises:
        ConfigurationError: a value can't be what it is.
    """
    settings, of = _apart(given)

    async def remove(client: Client) -> int:
        if await client.limits.remove(**of):
            return DONE
        say(
            "there is no such limit that was set; one of a task definition goes with the definition"
        )
        return FAILED

    return ask(settings, remove)


def run_why(given: Mapping[str, Any], *, task_id: str, as_json: bool) -> int:
    """Say why a task isn't running."""

    async def why(client: Client) -> int:
        reason = await client.why(task_id)
        if as_json:
            output.show_json(dataclasses.asdict(reason))
        else:
            output.show_line(str(reason))
        return FAILED if reason.reason == "unknown" else DONE

    return ask(given, why)
