"""Own what is known of a task function's arguments: its signature, as subworkers tell clients.

A subworker makes one of each function that it offers (`encode_signature`); a client checks calls
against it (`Signature.problem`); the control plane only hands the bytes on. It says less than the
function may: what isn't certain is left open, and then anything passes. So a call is refused only
if the function would have raised `TypeError`, or if its annotation names other plain types than
that of the value.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["SIGNATURE_BYTES_MAX", "Problem", "Signature", "decode_signature", "encode_signature"]

SIGNATURE_BYTES_MAX = 2_000
"""How large a signature may be; a larger one isn't told, and then any call passes."""

# Of the encoding; a reader that doesn't know a version checks nothing.
_VERSION = 1

_POSITIONAL_ONLY, _EITHER, _VAR_POSITIONAL, _KEYWORD_ONLY, _VAR_KEYWORD = range(5)
_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: _POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD: _EITHER,
    inspect.Parameter.VAR_POSITIONAL: _VAR_POSITIONAL,
    inspect.Parameter.KEYWORD_ONLY: _KEYWORD_ONLY,
    inspect.Parameter.VAR_KEYWORD: _VAR_KEYWORD,
}

# The types of JSON, as bits; no bit is any type.
_ANY = 0
_BITS: dict[type, int] = {
    int: 1,
    float: 2,
    str: 4,
    bool: 8,
    types.NoneType: 16,
    list: 32,
    dict: 64,
}
_NUMBERS = _BITS[int] | _BITS[float] | _BITS[bool]
_SHOWN = {bit: "None" if kind is types.NoneType else kind.__name__ for kind, bit in _BITS.items()}
# Of the exact types of values; a value of any other type may become anything on its way.
_BIT_OF = {**_BITS, tuple: _BITS[list]}

_Name = Annotated[str, Meta(min_length=1, max_length=SIGNATURE_BYTES_MAX)]


class _Parameter(Struct, array_like=True, frozen=True, gc=False, omit_defaults=True):
    """Tell of one parameter; `types` are the bits of the types its annotation names."""

    name: _Name
    kind: Annotated[int, Meta(ge=0, le=4)]
    is_required: bool = False
    types: Annotated[int, Meta(ge=0, lt=128)] = _ANY


class _Encoded(Struct, array_like=True, frozen=True, gc=False):
    version: int
    parameters: list[_Parameter]


_decoder = msgspec.msgpack.Decoder(_Encoded)


class Problem(NamedTuple):
    """Say what is wrong with a call: with which argument, and what."""

    argument: str
    message: str


class Signature:
    """Hold a decoded signature, ready to check calls.

    Args:
        parameters: in the order of the function.
    """

    def __init__(self, parameters: Sequence[_Parameter]) -> None:
        self._parameters = parameters
        self._positional = [p for p in parameters if p.kind in (_POSITIONAL_ONLY, _EITHER)]
        self._by_keyword = {p.name: p for p in parameters if p.kind in (_EITHER, _KEYWORD_ONLY)}
        self._rest = next((p for p in parameters if p.kind == _VAR_POSITIONAL), None)
        self._other_keywords = next((p for p in parameters if p.kind == _VAR_KEYWORD), None)
        self._required = [p for p in parameters if p.is_required]
        # So many positional arguments and no others are right for certain, the most usual call.
        self._fewest, self._most = len(self._required), len(self._positional)
        if any(p.types or (p.is_required and p.kind == _KEYWORD_ONLY) for p in parameters):
            self._most = -1

    @property
    def certain(self) -> tuple[int, int]:
        """Return how many positional arguments, and no others, are right whatever they are."""
        return self._fewest, self._most

    def problem(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Problem | None:
        """Return what is wrong with a call, or None if nothing certainly is."""
        count = len(args)
        if not kwargs and self._fewest <= count <= self._most:
            return None
        return (
            self._wrong_positional(args)
            or self._wrong_keyword(count, kwargs)
            or self._missing(count, kwargs)
        )

    def _wrong_positional(self, args: Sequence[Any]) -> Problem | None:
        positional, rest = self._positional, self._rest
        if len(args) > len(positional) and rest is None:
            most, count = len(positional), len(args)
            return Problem(
                f"argument {most + 1}",
                f"{count} positional argument{'' if count == 1 else 's'} given, and it takes "
                f"{'at most ' if most else ''}{most or 'none'}",
            )
        for position, value in enumerate(args):
            parameter = positional[position] if position < len(positional) else rest
            if parameter is not None and not _fits(value, parameter.types):
                return _mismatch(f"argument {position + 1}, {parameter.name!r},", parameter, value)
        return None

    def _wrong_keyword(self, count: int, kwargs: Mapping[str, Any]) -> Problem | None:
        given = {p.name for p in self._positional[:count]} if kwargs else ()
        for name, value in kwargs.items():
            parameter = self._by_keyword.get(name)
            if parameter is None:
                if self._other_keywords is None:
                    return Problem(f"{name!r:.200}", f"it has no argument {name!r:.200}")
                parameter = self._other_keywords
            elif name in given:
                return Problem(repr(name), f"{name!r} is given twice, also by its position")
            if not _fits(value, parameter.types):
                return _mismatch(f"{name!r:.200}", parameter, value)
        return None

    def _missing(self, count: int, kwargs: Mapping[str, Any]) -> Problem | None:
        given = self._positional[:count]
        missing = [
            repr(p.name)
            for p in self._required
            if p not in given and (p.kind == _POSITIONAL_ONLY or p.name not in kwargs)
        ]
        if not missing:
            return None
        what = "is" if len(missing) == 1 else "are"
        return Problem(missing[0], f"{', '.join(missing)} {what} missing")

    def shown(self, name: str) -> str:
        """Return it as Python has it, for a function of this name; defaults are three dots."""
        parts = []
        has_star = False
        for index, p in enumerate(self._parameters):
            if p.kind == _KEYWORD_ONLY and not has_star:
                parts.append("*")
            has_star = has_star or p.kind in (_KEYWORD_ONLY, _VAR_POSITIONAL)
            stars = {_VAR_POSITIONAL: "*", _VAR_KEYWORD: "**"}.get(p.kind, "")
            hint = f": {_names_of(p.types)}" if p.types else ""
            is_optional = not (p.is_required or stars)
            default = f"{' ' if hint else ''}={' ' if hint else ''}..." if is_optional else ""
            parts.append(f"{stars}{p.name}{hint}{default}")
            after = self._parameters[index + 1 : index + 2]
            if p.kind == _POSITIONAL_ONLY and not (after and after[0].kind == _POSITIONAL_ONLY):
                parts.append("/")
        return f"{name}({', '.join(parts)})"


def _names_of(bits: int) -> str:
    return " | ".join(name for bit, name in _SHOWN.items() if bits & bit)


def _fits(value: Any, bits: int) -> bool:
    """Say whether a value may be of these types; numbers stand in for each other, as in Python."""
    if not bits:
        return True
    bit = _BIT_OF.get(type(value))
    if bit is None or bit & bits:
        return True
    return bool(bit & _NUMBERS and bits & _NUMBERS)


def _mismatch(which: str, parameter: _Parameter, value: Any) -> Problem:
    given = "None" if value is None else f"of type {type(value).__name__}"
    return Problem(
        repr(parameter.name), f"{which} is {given} and should be {_names_of(parameter.types)}"
    )


# -- making one


def encode_signature(function: Callable[..., Any]) -> bytes:
    """Return a function's signature for the wire; nothing if it is unknown or too large.

    Of a decorated function it is that of the wrapper, which is what is called: what a wrapper adds
    or takes away isn't known to `functools.wraps`.
    """
    if hasattr(function, "__signature__"):
        return b""  # somebody's word for it, which nothing holds them to
    try:
        found = inspect.signature(function, follow_wrapped=False)
        parameters = [
            _Parameter(
                p.name,
                _KINDS[p.kind],
                p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD),
                _types_of_parameter(p, function),
            )
            for p in found.parameters.values()
        ]
        encoded = msgspec.msgpack.encode(_Encoded(_VERSION, parameters))
    except Exception:  # noqa: BLE001 - a callable may have anything for a signature
        return b""
    return encoded if len(encoded) <= SIGNATURE_BYTES_MAX else b""


def _types_of_parameter(parameter: inspect.Parameter, function: Callable[..., Any]) -> int:
    bits = _types_of_annotation(parameter.annotation, function)
    if bits and parameter.default is not parameter.empty:
        # `x: str = None` takes None as well.
        default = _BIT_OF.get(type(parameter.default))
        return _ANY if default is None else bits | default
    return bits


def _types_of_annotation(annotation: Any, function: Callable[..., Any]) -> int:
    if annotation is inspect.Parameter.empty:
        return _ANY
    if isinstance(annotation, str):
        # Each by itself: one that names what is imported for type checkers only can't be told.
        place = types.SimpleNamespace(__annotations__={"one": annotation})
        names = getattr(function, "__globals__", None)
        if names is None:
            return _ANY
        try:
            annotation = typing.get_type_hints(place, names)["one"]
        except Exception:  # noqa: BLE001 - it is any expression
            return _ANY
    return _types_of(annotation)


def _types_of(hint: Any) -> int:
    """Return the bits of a type hint, or any if they aren't certain."""
    if hint is None:
        return _BITS[types.NoneType]
    if isinstance(hint, type) and typing.get_origin(hint) is None:
        return _BITS.get(hint, _ANY)
    origin = typing.get_origin(hint)
    if origin is typing.Union or origin is types.UnionType:
        bits = [_types_of(one) for one in typing.get_args(hint)]
        return functools.reduce(lambda a, b: a | b, bits) if all(bits) else _ANY
    return _BITS[origin] if origin in (list, dict) else _ANY


def decode_signature(encoded: bytes) -> Signature | None:
    """Return a signature from the wire; None if it is unknown, or of a version that is."""
    if not encoded:
        return None
    try:
        decoded = _decoder.decode(encoded)
    except (msgspec.DecodeError, ValueError):
        return None
    if decoded.version != _VERSION or not all(p.name.isprintable() for p in decoded.parameters):
        return None
    return Signature(decoded.parameters)
