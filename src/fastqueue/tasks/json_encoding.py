"""Own which values JSON takes, and how: the encoder, and the check that nothing is lost in it.

Called by the serializer alone.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import deque
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["children_of", "encode_json", "holds_non_finite"]


def _plain(value: Any) -> Any:
    """Turn a value that msgspec doesn't know into one that it does."""
    if isinstance(value, deque):
        return list(value)
    if isinstance(value, PurePath):
        return str(value)
    # Subclasses of the plain types, numpy.float64 for one; the base's own conversion, not theirs.
    if isinstance(value, str):
        return str.__str__(value)
    # A bool comes here only as the key of a dict, where it would become "1" or "0".
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if _is_pydantic_model(value):
        # In JSON mode the model itself says what its JSON is, and the same model reads it back.
        return value.model_dump(mode="json", round_trip=True)
    raise TypeError(f"a value of type {type(value).__name__!r}")


def _is_pydantic_model(value: object) -> bool:
    # Told by its marks, because pydantic is optional and slow to import.
    cls = type(value)
    return hasattr(cls, "__pydantic_validator__") and hasattr(cls, "model_dump")


encode_json = msgspec.json.Encoder(enc_hook=_plain).encode
_encode_msgpack = msgspec.msgpack.Encoder(enc_hook=_plain).encode
# MessagePack's 64-bit float with all bits of the exponent set: NaN, Infinity or -Infinity.
_NON_FINITE_MSGPACK = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")


def holds_non_finite(value: object) -> bool:
    """Say whether NaN or an infinity, which JSON would turn into null, is anywhere in `value`.

    MessagePack keeps them, so encoding a second time, in C, and looking for their bytes is much
    faster than visiting every value. What looks like one may be part of a text or a longer number:
    only then is every value visited. Called only where the JSON has a null in it.
    """
    try:
        if _NON_FINITE_MSGPACK.search(_encode_msgpack(value)) is None:
            return False
    except OverflowError:
        # JSON takes a longer int than MessagePack: visit every value.
        pass
    unvisited: list[object] = [msgspec.to_builtins(value, enc_hook=_plain)]
    while unvisited:
        match unvisited.pop():
            case float() as number if not math.isfinite(number):
                return True
            case dict() as inner:
                unvisited.extend(inner.values())
            case list() | tuple() | set() | frozenset() as inner:
                unvisited.extend(inner)
    return False


def _shown(key: object) -> str:
    try:
        return f"{key!r:.60}"
    except Exception:  # noqa: BLE001 - the key's own __repr__ is user code
        return "..."


def children_of(value: object) -> Iterator[tuple[str, object]]:
    """Yield what `value` is made of, each with how one would write its place.

    May raise anything: looking into a value runs its own code.
    """
    if isinstance(value, dict):
        for key, child in value.items():
            yield f"[{_shown(key)}]", child
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        for index, child in enumerate(value):
            yield f"[{index}]", child
    elif isinstance(value, type):
        return
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield f".{field.name}", getattr(value, field.name, None)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield f".{name}", getattr(value, name, None)
    elif hasattr(type(value), "__attrs_attrs__") or _is_pydantic_model(value):
        for name, child in getattr(value, "__dict__", {}).items():
            yield f".{name}", child
