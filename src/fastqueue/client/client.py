"""Own the client that applications use: submit tasks, await or query results.

Here are its settings; what it does is in its parts: starting and stopping is `lifecycle`'s,
submitting `submitting`'s, many tasks at once `batching`'s, asking `asking`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastqueue.client.asking import Asking
from fastqueue.client.batching import Batching
from fastqueue.client.queues import Limits, Queues, ask_why
from fastqueue.client.schedules import Schedules
from fastqueue.config import ClientSettings

if TYPE_CHECKING:
    from fastqueue.config import SerializationFormat
    from fastqueue.tasks.queue_models import Reason

__all__ = ["Client"]


class Client(Batching, Asking):
    """Submit tasks to a control plane, and await or query their results.

    Make one per application and start it on the event loop that uses it. Each setting that isn't
    given comes from `FASTQUEUE_<NAME>`, then from `fastqueue.toml`, then from its default.

    Args:
        discovery_address: where control planes announce themselves.
        serialization_format: how arguments are encoded; PICKLE opts this process in to it.
        timeout: how long one call waits, in seconds: for the control plane to answer, or in
            `submit_task` for the result.
        retries: how often a submission that wasn't acknowledged is sent again; 0 means never.
        control_plane_address: the control plane, if it needn't be discovered.
        result_cache_size: how many results `get_result` can return.
        token: the secret of the control plane; both prove that they have it, and neither sends it.
        tls_ca: the file of the certificates that are trusted; by default the system's.
        tls_cert: the file of this client's certificate, if the control plane asks for one.
        tls_key: the file of that certificate's key.
        validate: whether a call's arguments are checked against the signatures that connected
            subworkers tell, before it is submitted; by default they are.

    Raises:
        ConfigurationError: a setting is wrong; the message names it.
    """

    def __init__(
        self,
        discovery_address: str | None = None,
        serialization_format: SerializationFormat | str | None = None,
        timeout: float | None = None,
        retries: int | None = None,
        *,
        control_plane_address: str | None = None,
        result_cache_size: int | None = None,
        token: str | None = None,
        tls_ca: str | None = None,
        tls_cert: str | None = None,
        tls_key: str | None = None,
        validate: bool | None = None,
    ) -> None:
        settings = ClientSettings.resolve(
            discovery_address=discovery_address,
            serialization_format=serialization_format,
            timeout=timeout,
            retries=retries,
            control_plane_address=control_plane_address,
            result_cache_size=result_cache_size,
            token=token,
            tls_ca=tls_ca,
            tls_cert=tls_cert,
            tls_key=tls_key,
            validate=validate,
        )
        super().__init__(settings)

    @property
    def queues(self) -> Queues:
        """Return what sees, pauses, weighs and purges queues."""
        return Queues(self)

    @property
    def limits(self) -> Limits:
        """Return what sees, sets and removes limits of what runs."""
        return Limits(self)

    async def why(self, task_id: str) -> Reason:
        """Return why a task isn't running: the one reason, and what ends it.

        Raises:
            ControlPlaneUnavailable: none answered within `timeout`.
            SubmissionRefused: this client's token is for submitting alone.
        """
        return await ask_why(self, task_id)

    @property
    def schedules(self) -> Schedules:
        """Return what makes, lists, changes and runs schedules."""
        return Schedules(self)
