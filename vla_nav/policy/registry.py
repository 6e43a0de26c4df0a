"""Named things that settings refer to: no duplicates, and a near name suggested on a miss."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from vla_nav.policy.errors import SettingsError

T = TypeVar('T')


def unknown(noun: str, name: object, known: Iterable[str]) -> SettingsError:
    """Build the error for a name that is not among the known ones, with the nearest of them."""
    known = sorted(known)
    near = [each for each in known if each.endswith(f'.{name}')] or difflib.get_close_matches(
        str(name), known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ''
    return SettingsError(f"unknown {noun} '{name}'{hint} (known: {', '.join(known) or 'none'})")


class Registry(Generic[T]):
    """A mapping from name to object that is filled once, by decorator, at import."""

    def __init__(self, noun: str):
        self.noun = noun
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that stores its argument under `name`; a name is taken only once."""

        def store(item: T) -> T:
            if name in self._items:
                raise SettingsError(f"{self.noun} '{name}' is registered twice")
            self._items[name] = item
            return item

        return store

    def __getitem__(self, name: str) -> T:
        try:
            return self._items[name]
        except KeyError:
            raise unknown(self.noun, name, self._items) from None

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)
