"""Own the commands that ask a control plane for something about tasks.

Each returns its exit code. With `as_json` one JSON document is written to stdout, and nothing else.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, cast

from fastqueue.cli import output
from fastqueue.cli.arguments import parse_kwargs, parse_moment, parse_value
from fastqueue.cli.asking import ask
from fastqueue.cli.exit_codes import DONE, FAILED, say
from fastqueue.client.options import SubmitOptions, parse_options
from fastqueue.config import ClientSettings
from fastqueue.errors import SubmissionRefused, TaskTimeout
from fastqueue.tasks.models import TaskPriority, TaskStatus
from fastqueue.tasks.registry import task_name_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastqueue import Client
    from fastqueue.tasks.models import Attempt, TaskResult

__all__ = ["run_cancel", "run_stats", "run_status", "run_submit", "show_outcome"]


# -- submit


def run_submit(
    given: Mapping[str, Any],
    *,
    task_name: str,
    args: Sequence[str],
    kwargs: str | None,
    priority: TaskPriority,
    non_blocking: bool,
    as_json: bool,
) -> int:
    """Submit a task, and unless `non_blocking` wait for its result.

    Args:
        given: the client's settings and the options of `SubmitOptions`, None where not given;
            `eta` and `expires` are texts.
        task_name: the task's name.
        args: its positional arguments, each in JSON or a plain text.
        kwargs: its keyword arguments, a JSON object.
        priority: its priority.
        non_blocking: whether to return once it is stored.
        as_json: whether to write JSON.

    Raises:
        ConfigurationError: the name can't be one, `kwargs` isn't a JSON object, or an option can't
            be what it is.
        FastQueueError: as for `Client.submit_task`.
    """
    # Before anybody is looked for: it needs no control plane to see it.
    task_name_of(task_name)
    values = [parse_value(text) for text in args]
    named = {} if kwargs is None else parse_kwargs(kwargs)
    asked = _submit_options(given)
    settings = {n: value for n, value in given.items() if n not in SubmitOptions.__annotations__}
    timeout_s = ClientSettings.resolve(**settings).timeout_s

    async def submit(client: Client) -> int:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        # A batch of one: unlike those of `delay`, its keyword arguments can have any name.
        call = (task_name, values, named)
        [task_id] = await client.submit_batch([call], priority=priority, **asked)
        if why := client.why_waits(task_name):
            say(f"task {task_id} waits: {why}")
        if non_blocking:
            if as_json:
                await _show_submitted(client, task_id, asked)
            else:
                output.show_line(task_id)
            return DONE
        left_s = max(0.0, deadline - loop.time())
        try:
            who = f"task {task_name!r} ({task_id})"
            result = await _outcome(client, task_id, left_s, who)
        except TaskTimeout:
            if as_json:
                await _show_submitted(client, task_id, asked)
            raise
        return show_outcome(result, as_json=as_json)

    return ask(settings, submit)


def _submit_options(given: Mapping[str, Any]) -> SubmitOptions:
    """Return what is asked for of the task, with times for texts.

    Raises:
        ConfigurationError: one can't be what it is.
    """
    asked = {
        name: given[name] for name in SubmitOptions.__annotations__ if given.get(name) is not None
    }
    if "eta" in asked:
        asked["eta"] = parse_moment(asked["eta"], "--eta")
    if "expires" in asked:
        asked["expires"] = parse_moment(asked["expires"], "--expires", or_seconds=True)
    options = cast("SubmitOptions", asked)
    parse_options(options)
    return options


async def _show_submitted(client: Client, task_id: str, asked: SubmitOptions) -> None:
    status = client.get_status(task_id) or TaskStatus.QUEUED
    if "eta" in asked or "countdown" in asked:
        # The client isn't told when a task's time has come.
        known = await client.get_task_result(task_id)
        status = known.status if known else status
    output.show_json({"task_id": task_id, "status": status})


async def _outcome(client: Client, task_id: str, timeout_s: float, who: str) -> TaskResult:
    goes_on = f"it goes on: see `fastqueue status --task-id {task_id}`"
    try:
        async for result in client.as_completed([task_id], timeout=timeout_s):
            return result
    except TaskTimeout as error:
        raise TaskTimeout(f"{who} isn't finished in time; {goes_on}", task_id=task_id) from error
    except asyncio.CancelledError:
        say(f"{who} isn't waited for any more; {goes_on}")
        raise
    raise AssertionError("as_completed yields a result for each id")


def show_outcome(result: TaskResult, *, as_json: bool) -> int:
    """Show a task's result; return the exit code that it leads to."""
    succeeded = result.status is TaskStatus.SUCCESS
    if as_json:
        output.show_json(output.result_document(result))
    elif succeeded:
        output.show_value(result.result)
    else:
        who = f"task {result.name!r} ({result.task_id})"
        if result.traceback:
            sys.stderr.write(result.traceback.rstrip("\n") + "\n")
        if result.status is TaskStatus.CANCELLED:
            say(f"{who} was cancelled{f': {result.error}' if result.error else ''}")
        else:
            say(f"{who} failed: {result.error}")
    return DONE if succeeded else FAILED


# -- status, cancel, stats


def run_status(given: Mapping[str, Any], *, task_id: str, as_json: bool) -> int:
    """Show what is known of a task, and its attempts that failed."""

    async def status(client: Client) -> int:
        result = await client.get_task_result(task_id)
        attempts = None if result is None else await _attempts(client, task_id)
        if as_json:
            output.show_json(None if result is None else output.result_document(result, attempts))
        elif result is not None:
            output.show_result(result)
            if attempts:
                output.show_line("")
                output.show_attempts(attempts)
        if result is None:
            say(_unknown(task_id))
            return FAILED
        return DONE

    return ask(given, status)


async def _attempts(client: Client, task_id: str) -> list[Attempt] | None:
    """Return a task's failed attempts, or None if the token is for submitting alone."""
    try:
        return await client.attempts(task_id)
    except SubmissionRefused:
        return None


def run_cancel(given: Mapping[str, Any], *, task_id: str, as_json: bool) -> int:
    """Cancel a task that waits or runs."""

    async def cancel(client: Client) -> int:
        answer = await client.cancel(task_id)
        if as_json:
            document = {"task_id": task_id, "cancelled": answer.cancelled, "status": answer.status}
            output.show_json(document)
        elif answer:
            output.show_line(f"cancelled {task_id}")
        if answer:
            return DONE
        if answer.status is None:
            say(_unknown(task_id))
        elif answer.status is TaskStatus.RUNNING:
            say(
                f"task {task_id} still runs; it is cancelled as soon as it can be interrupted, "
                f"unless it ends before: see `fastqueue status --task-id {task_id}`"
            )
        else:
            say(f"task {task_id} isn't cancelled, for its status is {answer.status}")
        return FAILED

    return ask(given, cancel)


def _unknown(task_id: str) -> str:
    return f"the control plane doesn't know a task {task_id}: it never did, or its result expired"


def run_stats(given: Mapping[str, Any], *, as_json: bool) -> int:
    """Show what the control plane tells about itself."""

    async def stats(client: Client) -> int:
        answer = await client.inspect("stats")
        if as_json:
            output.show_json(answer)
        else:
            _show_stats(answer)
        return DONE

    return ask(given, stats)


def _show_stats(stats: Mapping[str, Any]) -> None:
    plain = {name: fact for name, fact in stats.items() if not isinstance(fact, list)}
    output.show_facts({name.replace("_", " "): f"{fact:,}" for name, fact in plain.items()})
    for name, entries in stats.items():
        if isinstance(entries, list) and entries:
            output.show_line("")
            if isinstance(entries[0], dict):
                columns = list(entries[0])
                titles = [column.replace("_", " ") for column in columns]
                rows = [[_shown(entry[column]) for column in columns] for entry in entries]
                output.show_table([f"{name}: {titles[0]}", *titles[1:]], rows)
            else:
                output.show_table([name.replace("_", " ")], [[entry] for entry in entries])


def _shown(fact: object) -> object:
    return f"{fact:.1f}" if isinstance(fact, float) else fact
