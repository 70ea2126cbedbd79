"""Own what the commands of `fastqueue batch` do; each returns its exit code."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from fastqueue.cli import output
from fastqueue.cli.asking import ask
from fastqueue.cli.exit_codes import DONE, FAILED, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastqueue import Client
    from fastqueue.tasks.models import Batch

__all__ = ["run_cancel", "run_list", "run_show"]

_COUNTS = ("submitted", "waiting", "running", "success", "failure", "cancelled")


def run_show(given: Mapping[str, Any], *, batch_id: str, as_json: bool) -> int:
    """Show how far a batch is."""

    async def show(client: Client) -> int:
        batch = await client.batch(batch_id)
        if as_json:
            output.show_json(None if batch is None else _document(batch))
        elif batch is not None:
            facts: dict[str, Any] = {name: f"{getattr(batch, name):,}" for name in _COUNTS}
            facts |= {"created": output.local(batch.created_at), "finished": _finished(batch)}
            output.show_facts({"batch": batch.batch_id, **facts})
        if batch is None:
            say(_unknown(batch_id))
            return FAILED
        return DONE

    return ask(given, show)


def run_cancel(given: Mapping[str, Any], *, batch_id: str, as_json: bool) -> int:
    """Cancel what isn't over of a batch."""

    async def cancel(client: Client) -> int:
        if await client.batch(batch_id) is None:
            if as_json:
                output.show_json(None)
            say(_unknown(batch_id))
            return FAILED
        outcome = await client.cancel_batch(batch_id)
        if as_json:
            output.show_json(dataclasses.asdict(outcome))
        else:
            output.show_line(f"cancelled {outcome.cancelled:,} tasks of batch {batch_id}")
        if outcome:
            return DONE
        say(
            f"{outcome.unfinished:,} tasks of batch {batch_id} aren't over yet; those that run are "
            "cancelled as soon as they can be interrupted, unless they end before: see `fastqueue "
            f"batch show {batch_id}`"
        )
        return FAILED

    return ask(given, cancel)


def run_list(given: Mapping[str, Any], *, limit: int, as_json: bool) -> int:
    """Show the batches, and say if there are more than `limit`."""

    async def show(client: Client) -> int:
        batches: list[Batch] = []
        has_more = False
        async for batch in client.batches():
            has_more = len(batches) == limit
            if has_more:
                break
            batches.append(batch)
        if as_json:
            output.show_json([_document(batch) for batch in batches])
        elif batches:
            output.show_table(
                ("batch", *_COUNTS, "finished"),
                (
                    (
                        batch.batch_id,
                        *(f"{getattr(batch, name):,}" for name in _COUNTS),
                        _finished(batch),
                    )
                    for batch in batches
                ),
            )
        if has_more:
            say(f"these are the youngest {limit:,}; there are more: see --limit")
        elif not batches:
            say("there are no batches")
        return DONE

    return ask(given, show)


def _document(batch: Batch) -> dict[str, Any]:
    return {**dataclasses.asdict(batch), "finished": batch.finished}


def _finished(batch: Batch) -> str:
    return "not yet" if batch.finished_at is None else str(output.local(batch.finished_at))


def _unknown(batch_id: str) -> str:
    return f"the control plane doesn't know a batch {batch_id}: it never did, or it is forgotten"
