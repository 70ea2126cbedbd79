"""Own what a caller's values are checked for before anything of them is sent.

The control plane drops whoever sends what can't be: one such value would cost every other task
in its frame the connection. So it is refused here, at the call that brought it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastqueue.config import SerializationFormat, parse_address
from fastqueue.core.records import Callback
from fastqueue.errors import ConfigurationError, PayloadTooLarge, SerializationError
from fastqueue.tasks.serializer import TaskSerializer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["check_ids", "is_possible_id", "make_callback", "take_call_apart"]

# The same bounds as of `core.records.TaskId` and `core.records.Callback`.
_ID_LENGTH_MAX = 64
_ADDRESS_LENGTH_MAX = 256
_CALLBACK_DATA_BYTES_MAX = 64 * 1024


def is_possible_id(task_id: str) -> bool:
    """Say whether a task can have this id at all; if not, it is as unknown as one can be.

    Raises:
        TypeError: it isn't text.
    """
    if not isinstance(task_id, str):
        raise TypeError(f"a task id is text, such as `delay` returns; not {task_id!r:.250}")
    return 0 < len(task_id) <= _ID_LENGTH_MAX and task_id.isprintable()


def check_ids(task_ids: Iterable[str]) -> list[str]:
    """Return those of the ids that a task can have.

    Raises:
        TypeError: one isn't text.
    """
    return [task_id for task_id in task_ids if is_possible_id(task_id)]


def take_call_apart(call: object) -> tuple[Any, Sequence[Any], Mapping[str, Any]]:
    """Return the name or task, the arguments and the keyword arguments of one call of a batch.

    Raises:
        TypeError: it isn't `(name_or_task, args)` or `(name_or_task, args, kwargs)`.
    """
    if isinstance(call, (tuple, list)) and len(call) in (2, 3):
        name_or_task, args = call[:2]
        kwargs = (call[2] if len(call) == 3 else None) or {}
        if isinstance(args, (tuple, list)) and isinstance(kwargs, Mapping):
            return name_or_task, args, kwargs
    raise TypeError(
        f"a call of submit_batch is (name_or_task, args) or (name_or_task, args, kwargs), with "
        f"args a tuple and kwargs a dict; not {call!r:.200}"
    )


def make_callback(address: str, data: Any) -> Callback:
    """Return the record of a callback that a caller asked for.

    Raises:
        ConfigurationError: the address can't be one.
        SerializationError: JSON can't carry the data.
        PayloadTooLarge: the data is larger than what is sent along.
    """
    parse_address(address, setting="callback address")
    if len(address) > _ADDRESS_LENGTH_MAX:
        raise ConfigurationError(
            f"callback address {address[:50]!r}... has {len(address):,} characters, and may have "
            f"{_ADDRESS_LENGTH_MAX}"
        )
    try:
        encoded = TaskSerializer.serialize(data, SerializationFormat.JSON)
    except SerializationError as error:
        raise SerializationError(f"callback_data can't be sent along: {error}") from error
    if len(encoded) > _CALLBACK_DATA_BYTES_MAX:
        raise PayloadTooLarge(
            f"callback_data is {len(encoded):,} bytes encoded, and may be "
            f"{_CALLBACK_DATA_BYTES_MAX:,}: pass a reference to the data instead"
        )
    return Callback(address, encoded)
