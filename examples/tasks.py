"""The tasks of the examples. Run them with

    fastqueue control-plane --task-modules tasks

from this folder: that is the queue, its store in `./.fastqueue/`, and the processes that run them.
"""

import asyncio
from pathlib import Path

from fastqueue import task


@task
def word_count(text: str) -> dict[str, int]:
    """Count the words of a text; a plain function runs in a thread."""
    counts: dict[str, int] = {}
    for word in text.lower().split():
        counts[word] = counts.get(word, 0) + 1
    return counts


@task("reports.build")
async def build_report(customer: str, *, days: int = 30) -> dict[str, object]:
    """Build a report, slowly; a coroutine function runs on the subworker's event loop."""
    if days < 1:
        raise ValueError(f"a report covers at least one day, not {days}")
    await asyncio.sleep(0.2)
    return {"customer": customer, "days": days, "lines": days * 3}


@task("mail.send", retries=2, backoff=0.2, no_retry_on=ValueError)
def send_mail(to: str) -> str:
    """Send a mail; a file in this folder stands for a server that is down."""
    if "@" not in to:
        raise ValueError(f"{to!r} is no address")
    if Path("server-down").exists():
        raise ConnectionError("the mail server is down")
    return f"sent to {to}"
