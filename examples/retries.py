"""Have failures tried again, start a task later, and queue again what failed for good.

In this folder, in one terminal each:

    fastqueue control-plane --task-modules tasks
    python retries.py

The mail server of `mail.send` is down as long as there is a file `server-down` here. What failed
meanwhile is kept as dead letters: `fastqueue dead-letters` lists them too.
"""

import asyncio
from pathlib import Path

from fastqueue import Client

DOWN = Path("server-down")


def repair() -> None:
    """Have the mail server up."""
    DOWN.unlink(missing_ok=True)


async def main() -> None:
    """Send mails while the server is down, and again once it is up."""
    async with Client() as client:
        later = await client.options(countdown=2).delay("mail.send", "eve@example.org")
        status = await client.get_task_result(later)
        print(f"eve: {status.status if status else 'unknown'}")

        # An error that no retry can mend isn't tried again; see the options of the task.
        wrong = await client.submit_task("mail.send", ("nobody",))
        print(f"nobody: {wrong.status} at attempt {wrong.attempt}: {wrong.error}")

        lost = await client.submit_task("mail.send", ("bob@example.org",))
        for attempt in await client.attempts(lost.task_id):
            print(f"bob: attempt {attempt.attempt}: {attempt.error}")
        print(f"bob: {lost.status} at attempt {lost.attempt}: {lost.error}")

        repair()
        # A new task, since the old one has its result: old ids lead to new ones.
        again = await client.requeue([lost.task_id])
        async for result in client.as_completed([*again.values(), later]):
            print(f"{result.status}: {result.result}")


if __name__ == "__main__":
    DOWN.touch()
    try:
        asyncio.run(main())
    finally:
        repair()
