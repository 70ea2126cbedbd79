"""Own an order of least recent use that costs the collector of cycles nothing.

`collections.OrderedDict` would do, but the collector walks through it: with 100,000 entries that
stops the process for some 20 ms, about once a second under load, and the user's own code with it.
A plain dict that holds nothing but strings, numbers and structs made with `gc=False` isn't looked
at. It can't lose its first entry cheaply, though, and so there are two of them, an older and a
younger one. Only the older one gives entries up, in its order, until it has none left; then the
younger one takes its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Recency"]

V = TypeVar("V")


class Recency(Generic[V]):
    """Hold values by id, least recently touched first.

    A value is neither None nor anything that the collector of cycles looks at.
    """

    __slots__ = ("_head", "_live_in_old", "_old", "_order", "_young")

    def __init__(self) -> None:
        # An entry of the older dict that is gone, or in the younger one now, is None: the dict
        # can't change its size while it is iterated over.
        self._old: dict[str, V | None] = {}
        self._young: dict[str, V] = {}
        self._live_in_old = 0
        self._order = iter(self._old)
        # The next of the order, if it was looked at already.
        self._head: str | None = None

    def __len__(self) -> int:
        return self._live_in_old + len(self._young)

    def __contains__(self, key: object) -> bool:
        return key in self._young or self._old.get(key) is not None  # type: ignore[call-overload]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids, least recently touched first."""
        return iter([*(k for k, value in self._old.items() if value is not None), *self._young])

    def get(self, key: str) -> V | None:
        """Return the value, or None if there is none; the order stays as it is."""
        value = self._young.get(key)
        return self._old.get(key) if value is None else value

    def __setitem__(self, key: str, value: V) -> None:
        """Add an entry as the most recent one, or give one that is there another value."""
        if self._old and self._old.get(key) is not None:
            self._old[key] = value
        else:
            self._young[key] = value

    def touch(self, key: str) -> V:
        """Make an entry the most recent one; return its value.

        Raises:
            KeyError: there is none.
        """
        value = self.pop(key)
        if value is None:
            raise KeyError(key)
        self._young[key] = value
        return value

    def pop(self, key: str) -> V | None:
        """Remove an entry; return its value, or None if there is none."""
        value = self._young.pop(key, None)
        if value is None and (value := self._old.get(key)) is not None:
            self._old[key] = None
            self._live_in_old -= 1
        return value

    def oldest(self) -> tuple[str, V] | None:
        """Return the entry that was touched least recently, or None if there is none."""
        key, value = self._head, None
        while key is None or (value := self._old[key]) is None:
            key = next(self._order, None)
            if key is None:
                if not self._young:
                    self._head = None
                    return None
                self._old, self._young = cast("dict[str, V | None]", self._young), {}
                self._live_in_old = len(self._old)
                self._order = iter(self._old)
        self._head = key
        return key, value

    def pop_oldest(self) -> V | None:
        """Remove the entry that was touched least recently; return its value, or None."""
        oldest = self.oldest()
        return None if oldest is None else self.pop(oldest[0])
