"""Own how a command asks a control plane for something: its client, from start to end.

Used by `client_commands` and `failure_commands`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from fastqueue import Client
from fastqueue.cli.logs import configure_logs
from fastqueue.config import ClientSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

__all__ = ["ask"]


def ask(given: Mapping[str, object], question: Callable[[Client], Awaitable[int]]) -> int:
    """Start a client, have it asked, and close it; return the exit code that the question has.

    Args:
        given: the client's settings, None where not given.
        question: what is to be done with the started client.

    Raises:
        ConfigurationError: a setting is wrong.
        FastQueueError: what the question raises.
    """
    settings = ClientSettings.resolve(**given)
    configure_logs(settings.log_level)

    async def run() -> int:
        async with _client(settings) as client:
            return await question(client)

    return asyncio.run(run())


@contextlib.asynccontextmanager
async def _client(settings: ClientSettings) -> AsyncIterator[Client]:
    client = Client(
        control_plane_address=settings.control_plane_address,
        discovery_address=settings.discovery_address,
        timeout=settings.timeout_s,
        validate=settings.validate,
        token=settings.token,
        tls_ca=settings.tls_ca,
        tls_cert=settings.tls_cert,
        tls_key=settings.tls_key,
    )
    await client.start()
    try:
        yield client
        await client.aclose()
    finally:
        # Not `async with client`: after Ctrl-C nothing is to be waited for.
        client.stop()
