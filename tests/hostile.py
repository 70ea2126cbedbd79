"""Own values and errors whose own code fails wherever it is called: tasks return or raise them."""

from __future__ import annotations

import dataclasses


class BadKey:
    def __repr__(self):
        raise RuntimeError("repr")

    def __hash__(self):
        return 1


class ExitingKey(BadKey):
    def __repr__(self):
        raise SystemExit(3)


class BadList(list):
    def __iter__(self):
        raise RuntimeError("iter")

    def __len__(self):
        raise RuntimeError("len")


class BadClass:
    @property
    def __class__(self):
        raise RuntimeError("class")


class LookingMeta(type):
    def __getattr__(cls, name):
        raise RuntimeError(f"the metaclass was asked for {name}")


class BadMeta(metaclass=LookingMeta):
    pass


class NamelessMeta(type):
    def __getattribute__(cls, name):
        raise RuntimeError("not even the name")


class Nameless(metaclass=NamelessMeta):
    pass


class BadFloat(float):
    def __repr__(self):
        raise RuntimeError("repr")


@dataclasses.dataclass
class BadField:
    field: object
    other: object = dataclasses.field(default_factory=object)

    def __getattribute__(self, name):
        if name == "field":
            raise KeyError("field")
        return object.__getattribute__(self, name)


class ExitingReduce:
    def __reduce__(self):
        raise SystemExit(5)


class UnshowableError(Exception):
    def __str__(self):
        raise RuntimeError("str")


class UnshowableWhenEncoded:
    def __reduce__(self):
        raise UnshowableError


VALUES = {
    "key": lambda: {BadKey(): object()},
    "inner key": lambda: {"x": {BadKey(): object()}},
    "exiting key": lambda: {ExitingKey(): object()},
    "list": lambda: BadList([object()]),
    "inner list": lambda: [BadList([object()]), object()],
    "class": BadClass,
    "inner class": lambda: [BadClass()],
    "metaclass": BadMeta,
    "no name": Nameless,
    "float": lambda: BadFloat("nan"),
    "field": lambda: BadField(object()),
}


class ExitingError(Exception):
    def __str__(self):
        raise SystemExit(3)


class NoTextError(Exception):
    def __str__(self):
        return 5


class OddText(str):
    def __format__(self, spec):
        raise RuntimeError("format")

    def encode(self, *args):
        raise RuntimeError("encode")


class OddTextError(Exception):
    def __str__(self):
        return OddText("odd")


class ClosedError(Exception):
    def __getattribute__(self, name):
        raise RuntimeError(f"the error was asked for {name}")


class NamelessError(Exception, metaclass=NamelessMeta):
    pass


class ExitingCauseError(Exception):
    @property
    def __cause__(self):
        raise SystemExit(4)


ERRORS = {
    "exiting": ExitingError,
    "unshowable": UnshowableError,
    "no text": NoTextError,
    "odd text": OddTextError,
    "closed": ClosedError,
    "no name": NamelessError,
    "cause": ExitingCauseError,
}
