"""Small things that all processes of a store share beside its logs: keys, tickets, places.

The law of this file: a fact is found by kind and key, and is gone when its time is over, whether
or not anybody swept it. What must happen once (`take`, `put` of something new, the last free
place) happens once, whoever asks at the same time. Times are RFC 3339, UTC, from the caller's
clock.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol


class Facts(Protocol):
    """The port. Every method may raise a StoreError."""

    async def put(
        self,
        kind: str,
        key: str,
        value: str,
        *,
        now: str,
        until: str | None = None,
        new: bool = False,
    ) -> bool:
        """Keep a value, for ever or until a time; `new`: only where nothing is kept.

        Returns whether it was kept.
        """
        ...

    async def get(self, kind: str, key: str, *, now: str) -> str | None:
        """Return a value, if there is one."""
        ...

    async def take(self, kind: str, key: str, *, now: str) -> str | None:
        """Return a value and remove it: of several callers one gets it."""
        ...

    async def find(self, kind: str, prefix: str = "", *, now: str) -> Sequence[tuple[str, str]]:
        """List the keys that begin so, with their values, in the order of the keys."""
        ...

    async def occupy(
        self, kind: str, names: Mapping[str, int], holder: str, *, now: str, until: str
    ) -> str | None:
        """Take a place under each name, all or none; a name's number is how many places it has.

        Returns the name that is full, or None: the holder has its places, until it vacates them
        or their time is over.
        """
        ...

    async def stay(self, kind: str, prefix: str, *, until: str) -> None:
        """Keep the places of all holders whose names begin so until a time; now: give them back."""
        ...

    async def vacate(self, kind: str, holder: str) -> None:
        """Give a holder's places back; one that has none gives none."""
        ...

    async def sweep(self, *, now: str) -> None:
        """Remove what is over."""
        ...


class MemoryFacts:
    """Facts that live as long as the process."""

    def __init__(self) -> None:
        self._facts: dict[tuple[str, str], tuple[str, str | None]] = {}
        self._places: dict[tuple[str, str], dict[str, str]] = {}

    async def put(
        self,
        kind: str,
        key: str,
        value: str,
        *,
        now: str,
        until: str | None = None,
        new: bool = False,
    ) -> bool:
        """Keep a value."""
        if new and self._live(kind, key, now) is not None:
            return False
        self._facts[kind, key] = (value, until)
        return True

    async def get(self, kind: str, key: str, *, now: str) -> str | None:
        """Return a value."""
        return self._live(kind, key, now)

    async def take(self, kind: str, key: str, *, now: str) -> str | None:
        """Return a value and remove it."""
        value = self._live(kind, key, now)
        self._facts.pop((kind, key), None)
        return value

    async def find(self, kind: str, prefix: str = "", *, now: str) -> Sequence[tuple[str, str]]:
        """List keys and values."""
        keys = sorted(key for of, key in self._facts if of == kind and key.startswith(prefix))
        found = [(key, self._live(kind, key, now)) for key in keys]
        return [(key, value) for key, value in found if value is not None]

    def _live(self, kind: str, key: str, now: str) -> str | None:
        value, until = self._facts.get((kind, key), (None, None))
        return None if until is not None and until <= now else value

    async def occupy(
        self, kind: str, names: Mapping[str, int], holder: str, *, now: str, until: str
    ) -> str | None:
        """Take a place under each name."""
        for name, limit in names.items():
            places = self._places.setdefault((kind, name), {})
            if sum(end > now for who, end in places.items() if who != holder) >= limit:
                return name
        for name in names:
            self._places[kind, name][holder] = until
        return None

    async def stay(self, kind: str, prefix: str, *, until: str) -> None:
        """Keep places longer."""
        for (of, _), places in self._places.items():
            for holder in places:
                if of == kind and holder.startswith(prefix):
                    places[holder] = until

    async def vacate(self, kind: str, holder: str) -> None:
        """Give places back."""
        for (of, name), places in tuple(self._places.items()):
            if of == kind:
                places.pop(holder, None)
            if not places:
                del self._places[of, name]

    async def sweep(self, *, now: str) -> None:
        """Remove what is over."""
        self._facts = {k: v for k, v in self._facts.items() if v[1] is None or v[1] > now}
        for name, places in tuple(self._places.items()):
            self._places[name] = {who: end for who, end in places.items() if end > now}
            if not self._places[name]:
                del self._places[name]
