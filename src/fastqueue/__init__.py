"""fastqueue: durable background tasks for Python web developers, without a broker."""

from __future__ import annotations

from fastqueue._version import __version__
from fastqueue.client.client import Client
from fastqueue.client.sync import SyncClient
from fastqueue.errors import Cancel, Retry, SoftTimeLimit
from fastqueue.tasks.context import current_task
from fastqueue.tasks.models import Cancellation, TaskPriority, TaskResult, TaskStatus
from fastqueue.tasks.registry import task
from fastqueue.tasks.serializer import SerializationFormat

__all__ = [
    "Cancel",
    "Cancellation",
    "Client",
    "Retry",
    "SerializationFormat",
    "SoftTimeLimit",
    "SyncClient",
    "TaskPriority",
    "TaskResult",
    "TaskStatus",
    "__version__",
    "current_task",
    "task",
]
