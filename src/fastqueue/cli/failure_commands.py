"""Own the commands about tasks that failed for good: `dead-letters` and `requeue`.

Each returns its exit code. With `as_json` one JSON document is written to stdout, and nothing else.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from fastqueue.cli import output
from fastqueue.cli.asking import ask
from fastqueue.cli.exit_codes import DONE, FAILED, say
from fastqueue.errors import ConfigurationError, FastQueueError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastqueue import Client
    from fastqueue.tasks.models import DeadLetter

__all__ = ["run_dead_letters", "run_requeue"]

# As many as one request has, so that nearly all that was done before an error is told.
_REQUEUED_AT_ONCE = 10


def run_dead_letters(
    given: Mapping[str, Any], *, name: str | None, queue: str | None, limit: int, as_json: bool
) -> int:
    """Show the dead letters, the oldest first, and say if there are more than `limit`."""

    async def show(client: Client) -> int:
        letters: list[DeadLetter] = []
        has_more = False
        async for letter in client.dead_letters(name=name, queue=queue):
            has_more = len(letters) == limit
            if has_more:
                break
            letters.append(letter)
        if as_json:
            output.show_json([dataclasses.asdict(letter) for letter in letters])
        elif letters:
            output.show_dead_letters(letters)
        if has_more:
            say(f"these are the oldest {limit:,}; there are more: see --limit")
        elif not letters:
            say("there are no such dead letters" if name or queue else "there are no dead letters")
        return DONE

    return ask(given, show)


def run_requeue(
    given: Mapping[str, Any],
    *,
    task_ids: Sequence[str] | None,
    name: str | None,
    queue: str | None,
    everything: bool,
    as_json: bool,
) -> int:
    """Queue dead letters again, and show the new ids by the old ones.

    Exactly one of `task_ids`, `name`, `queue` and `everything` says which.

    Raises:
        ConfigurationError: none or several of them are given.
        FastQueueError: as for `Client.requeue`; what was done before is shown.
    """
    if [bool(task_ids), name is not None, queue is not None, everything].count(True) != 1:
        raise ConfigurationError(
            "say which dead letters are to be queued again, with one of --task-id, --name, --queue "
            "and --all"
        )

    async def again(client: Client) -> int:
        wanted = list(dict.fromkeys(task_ids or ()))
        if not wanted:
            found = client.dead_letters(name=name, queue=queue)
            wanted = [letter.task_id async for letter in found]
        made: dict[str, str] = {}
        try:
            await _requeue(client, wanted, made, as_json=as_json)
        except FastQueueError:
            if made:
                say(f"{len(made):,} of {len(wanted):,} were queued again before this failed:")
                if as_json:
                    output.show_json(made)
            raise
        if as_json:
            output.show_json(made)
        if not task_ids:
            if not made:
                say("there are no such dead letters")
            return DONE
        unknown = [task_id for task_id in wanted if task_id not in made]
        for task_id in unknown:
            say(
                f"task {task_id} isn't queued again, for it is no dead letter: it never failed for "
                "good, or it was queued again before"
            )
        return FAILED if unknown else DONE

    return ask(given, again)


async def _requeue(
    client: Client, wanted: Sequence[str], made: dict[str, str], *, as_json: bool
) -> None:
    """Queue those that are wanted again, noting in `made` what was done so far."""
    for start in range(0, len(wanted), _REQUEUED_AT_ONCE):
        some = await client.requeue(wanted[start : start + _REQUEUED_AT_ONCE])
        made |= some
        if not as_json:
            for old, new in some.items():
                output.show_line(f"{old} -> {new}")
