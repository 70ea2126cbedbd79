"""Own how arguments and results become bytes, and bytes become them again.

The client encodes arguments and decodes results; the subworker does the reverse. The control plane
never looks inside. The fast functions are a single call of a C encoder; all that explains a failure
(which argument, which place in it) happens only after one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from fastqueue.config import SerializationFormat
from fastqueue.errors import SerializationError
from fastqueue.tasks.json_encoding import children_of, encode_json, holds_non_finite

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "SerializationFormat",
    "TaskSerializer",
    "allow_pickle",
    "decode_arguments",
    "decode_result",
    "encode_arguments",
    "encode_result",
    "pickle_allowed",
]

# A fixed one, so that hosts with different Pythons understand each other (3.8 and later read it).
_PICKLE_PROTOCOL = 5
# How deep an error message looks for the value at fault.
_PATH_DEPTH_MAX = 20

_JSON = SerializationFormat.JSON
_PICKLE = SerializationFormat.PICKLE

_decode = msgspec.json.Decoder().decode
_decode_call = msgspec.json.Decoder(tuple[list[Any], dict[str, Any]]).decode

_pickle_is_allowed = False


def allow_pickle(allowed: bool = True) -> None:
    """Let this process pickle and unpickle, or forbid it again.

    Unpickling runs whatever code the sender chose: allow it only where all who can submit tasks
    are trusted.
    """
    global _pickle_is_allowed
    _pickle_is_allowed = allowed


def pickle_allowed() -> bool:
    """Say whether this process may pickle and unpickle."""
    return _pickle_is_allowed


def encode_arguments(
    task_name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    format: SerializationFormat = _JSON,  # noqa: A002 - the name the interface has everywhere
) -> bytes:
    """Encode the arguments of one call as a payload.

    Args:
        task_name: whom the arguments are for; used in errors.
        args: the positional arguments.
        kwargs: the keyword arguments.
        format: JSON makes `[args, kwargs]`; PICKLE the pickle of `(args, kwargs)`.

    Raises:
        SerializationError: an argument can't be encoded; the message names it. Or the format is
            PICKLE and this process hasn't allowed it.
    """
    if type(args) is not tuple and type(args) is not list:
        args = _checked_args(task_name, args)
    if type(kwargs) is not dict:
        kwargs = _checked_kwargs(task_name, kwargs)
    if format is not _JSON:
        _require_pickle("encode", f"the arguments of task {task_name!r}")
        try:
            return _pickled((tuple(args), kwargs))
        except Exception as error:  # pickling runs user code
            raise _argument_error(task_name, args, kwargs, _pickle_complaint, error) from error
    try:
        if kwargs:
            # Fails on a name that isn't text, which JSON would silently turn into text.
            "".join(kwargs)
        payload = encode_json((args, kwargs))
        if b"null" not in payload or not holds_non_finite((args, kwargs)):
            return payload
    except Exception as error:  # encoding runs user code
        raise _argument_error(task_name, args, kwargs, _json_complaint, error) from error
    raise _argument_error(task_name, args, kwargs, _json_complaint, None)


def decode_arguments(
    payload: bytes,
    format: SerializationFormat = _JSON,  # noqa: A002 - the name the interface has everywhere
) -> tuple[list[Any], dict[str, Any]]:
    """Decode a payload into positional and keyword arguments.

    Raises:
        SerializationError: it isn't a payload in this format; or the format is PICKLE and this
            process hasn't allowed it.
    """
    if format is _JSON:
        try:
            return _decode_call(payload)
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
            raise _decode_error("the arguments", error) from error
    call = _unpickle(payload, "the arguments")
    match call:
        case (list() | tuple() as args, dict() as kwargs):
            return list(args), kwargs
    raise SerializationError(
        f"the arguments can't be decoded: the pickle holds a {type(call).__name__!r} instead "
        "of the positional and the keyword arguments"
    )


def encode_result(value: Any, format: SerializationFormat = _JSON) -> bytes:  # noqa: A002
    """Encode what a task function returned.

    Raises:
        SerializationError: it can't be encoded; the message names the place in it. Or the format
            is PICKLE and this process hasn't allowed it.
    """
    if value is None and format is _JSON:
        return b"null"
    return _dumps(value, format, "the result")


def decode_result(data: bytes, format: SerializationFormat = _JSON) -> Any:  # noqa: A002
    """Decode what a task function returned.

    Raises:
        SerializationError: `data` isn't in this format; or the format is PICKLE and this process
            hasn't allowed it.
    """
    if format is _JSON:
        try:
            return _decode(data)
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
            raise _decode_error("the result", error) from error
    return _unpickle(data, "the result")


class TaskSerializer:
    """Encode and decode any value as fastqueue does; for callbacks and for programs of your own."""

    @staticmethod
    def serialize(
        data: Any,
        format: SerializationFormat | str = _JSON,  # noqa: A002 - promised to users
    ) -> bytes:
        """Encode `data`.

        JSON takes, besides its own types: datetime, date, time, timedelta, UUID, Decimal, Enum,
        bytes, sets, tuples, deques, paths, dataclasses, attrs classes, pydantic models, msgspec
        Structs, and whole numbers of any length. They are decoded as the text, list, dict or
        number that stands for them.

        Raises:
            SerializationError: it can't be encoded; or the format is PICKLE and this process
                hasn't allowed it.
            ConfigurationError: there is no such format.
        """
        return _dumps(data, SerializationFormat.parse(format), "the data")

    @staticmethod
    def deserialize(
        data: bytes,
        format: SerializationFormat | str = _JSON,  # noqa: A002 - promised to users
    ) -> Any:
        """Decode what `serialize` made.

        Raises:
            SerializationError: `data` isn't in this format; or the format is PICKLE and this
                process hasn't allowed it.
            ConfigurationError: there is no such format.
        """
        return decode_result(data, SerializationFormat.parse(format))


def _dumps(value: Any, format_: SerializationFormat, what: str) -> bytes:
    if format_ is not _JSON:
        _require_pickle("encode", what)
        try:
            return _pickled(value)
        except Exception as error:  # pickling runs user code
            raise _value_error(what, value, _pickle_complaint, error) from error
    try:
        encoded = encode_json(value)
        if b"null" not in encoded or not holds_non_finite(value):
            return encoded
    except Exception as error:  # encoding runs user code
        raise _value_error(what, value, _json_complaint, error) from error
    raise _value_error(what, value, _json_complaint, None)


def _require_pickle(verb: str, what: str) -> None:
    if not _pickle_is_allowed:
        raise SerializationError(
            f"this process doesn't {verb} {what} as pickle, because unpickling runs any code a "
            "sender chose; if all who can submit tasks are trusted, opt in: --allow-pickle for a "
            "control plane or subworker, Client(serialization_format=SerializationFormat.PICKLE) "
            "for a client"
        )


# Both import it only then: a process that needn't have it, such as a control plane, hasn't.


def _pickled(value: object) -> bytes:
    import pickle

    return pickle.dumps(value, _PICKLE_PROTOCOL)


def _unpickle(data: bytes, what: str) -> Any:
    _require_pickle("decode", what)
    import pickle

    try:
        return pickle.loads(data)  # noqa: S301 - this process opted in
    except Exception as error:  # unpickling runs user code
        raise SerializationError(f"{what} can't be unpickled: {_told(error)}") from error


def _decode_error(what: str, error: BaseException) -> SerializationError:
    why = "nested too deep" if isinstance(error, RecursionError) else str(error)
    return SerializationError(f"{what} can't be decoded as JSON: {why}")


# From here on: what happens after a failure, to name the value at fault.


def _checked_args(task_name: str, args: object) -> Sequence[Any]:
    if isinstance(args, Sequence) and not isinstance(args, (str, bytes, bytearray, memoryview)):
        return tuple(args)
    raise SerializationError(
        f"the positional arguments of task {task_name!r} are a value of type "
        f"{type(args).__name__!r}; pass a tuple or a list"
    )


def _checked_kwargs(task_name: str, kwargs: object) -> dict[str, Any]:
    if isinstance(kwargs, Mapping):
        return dict(kwargs)
    raise SerializationError(
        f"the keyword arguments of task {task_name!r} are a value of type "
        f"{type(kwargs).__name__!r}; pass a dict"
    )


def _json_complaint(value: object) -> str | None:
    """Say why `value` isn't JSON, or return None if it is."""
    kind = f"a value of type {type(value).__name__!r}"
    try:
        if b"null" not in encode_json(value) or not holds_non_finite(value):
            return None
    except RecursionError:
        return f"{kind} that contains itself or is nested too deep"
    except UnicodeEncodeError:
        return f"{kind} holding a lone surrogate, which is not valid text"
    except Exception as error:  # noqa: BLE001 - encoding runs user code
        # Not isinstance, which asks the value itself what its class is.
        if issubclass(type(value), dict):
            return f"{kind} with a key that is neither text nor a number"
        why = _told(error)
        return kind if why == f"TypeError: {kind}" else f"{kind} ({why})"
    what = f"{kind} holding NaN or an infinity"
    if issubclass(type(value), float):
        what = float.__repr__(cast("float", value))
    return f"{what}, which is not a JSON number"


def _pickle_complaint(value: object) -> str | None:
    """Say why `value` can't be pickled, or return None if it can."""
    try:
        _pickled(value)
    except Exception as error:  # noqa: BLE001 - pickling runs user code
        return f"a value of type {type(value).__name__!r} ({_told(error)})"
    return None


def _told(error: BaseException | None) -> str:
    """Return the type and the message of an error, whose `__str__` may be user code."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - as said
        return type(error).__name__


def _locate(value: object, complaint: Callable[[object], str | None]) -> tuple[str, str] | None:
    """Return the place of the innermost value at fault, and what is wrong with it."""
    why = complaint(value)
    if why is None:
        return None
    place = ""
    for _ in range(_PATH_DEPTH_MAX):
        if "contains itself" in why:
            break
        inner = _child_at_fault(value, complaint)
        if inner is None:
            break
        step, value, why = inner
        place += step
    return place, why


def _child_at_fault(
    value: object, complaint: Callable[[object], str | None]
) -> tuple[str, object, str] | None:
    try:
        for step, child in children_of(value):
            why = complaint(child)
            if why is not None:
                return step, child, why
    except Exception:  # noqa: BLE001, S110 - looking into a value runs user code
        pass  # the place is told as far as it is known
    return None


def _failure(complaint: Callable[[object], str | None]) -> str:
    return "can't be encoded as JSON" if complaint is _json_complaint else "can't be pickled"


def _value_error(
    what: str,
    value: object,
    complaint: Callable[[object], str | None],
    error: BaseException | None,
) -> SerializationError:
    found = _locate(value, complaint)
    if found is None:
        # Each part is fine alone: only the whole is too deep, or it changed in the meantime.
        return SerializationError(f"{what} {_failure(complaint)}: {_told(error)}")
    place, why = found
    at = f" at {place}" if place else ""
    return SerializationError(
        f"{what} {_failure(complaint)}{at}: {why}; pass plain data or an id in its place"
    )


def _argument_error(
    task_name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    complaint: Callable[[object], str | None],
    error: BaseException | None,
) -> SerializationError:
    named = [(f"argument {number}", value) for number, value in enumerate(args, 1)]
    for name, value in kwargs.items():
        if not isinstance(name, str):
            return SerializationError(
                f"the keyword argument {name!r} of task {task_name!r} has a name of type "
                f"{type(name).__name__!r}; names must be text"
            )
        if complaint(name) is not None:
            return SerializationError(
                f"the keyword argument {name!r} of task {task_name!r} has a name that is not "
                "valid text"
            )
        named.append((f"keyword argument {name!r}", value))
    for label, value in named:
        if complaint(value) is not None:
            return _value_error(f"{label} of task {task_name!r}", value, complaint, error)
    return SerializationError(
        f"the arguments of task {task_name!r} {_failure(complaint)}: {_told(error)}"
    )
