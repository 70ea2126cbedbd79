"""Own the serialization formats: a setting of the client, and a number on the wire.

Used by the settings and by the serializer.
"""

from __future__ import annotations

import enum

from fastqueue.errors import ConfigurationError

__all__ = ["SerializationFormat"]


class SerializationFormat(enum.StrEnum):
    """Choose how arguments and results are encoded.

    JSON is read by any process. PICKLE takes nearly any Python value, but unpickling runs whatever
    code the sender chose: only a process that opted in takes it.
    """

    JSON = "json"
    PICKLE = "pickle"

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    @property
    def code(self) -> int:
        """Return the number that stands for this format on the wire and in the store."""
        return 0 if self is SerializationFormat.JSON else 1

    @classmethod
    def of_code(cls, code: int) -> SerializationFormat:
        """Return the format with this number.

        Raises:
            ConfigurationError: no format has it.
        """
        if code == 0:
            return cls.JSON
        if code == 1:
            return cls.PICKLE
        raise ConfigurationError(
            f"serialization format number {code!r} is unknown here: 0 is json, 1 is pickle; "
            "was it written by a newer fastqueue?"
        )

    @classmethod
    def parse(
        cls, value: SerializationFormat | str, *, setting: str = "serialization_format"
    ) -> SerializationFormat:
        """Return the format that `value` is or names, in any letter case.

        Args:
            value: the format or its name.
            setting: what to call it in an error.

        Raises:
            ConfigurationError: it is neither; the message lists them.
        """
        if type(value) is cls:
            return value
        if isinstance(value, str):
            try:
                return cls(value.strip().lower())
            except ValueError:
                pass
        raise ConfigurationError(
            f"{setting} {value!r} is neither 'json' nor 'pickle' (nor a SerializationFormat)"
        )
