"""Who follows what on this node: what `leave` and `resume` need to know of a socket."""

from collections.abc import Iterable
from typing import Generic, TypeVar

S = TypeVar("S")
T = TypeVar("T")


class Whereabouts(Generic[S, T]):
    """Subscribers and what each of them follows. Most follow one thing: that costs a slot, and no set of its own."""

    def __init__(self) -> None:
        self._one: dict[S, T] = {}
        self._several: dict[S, set[T]] = {}

    def note(self, subscriber: S, followed: T) -> None:
        several = self._several.get(subscriber)
        if several is not None:
            several.add(followed)
        elif subscriber in self._one:
            self._several[subscriber] = {self._one.pop(subscriber), followed}
        else:
            self._one[subscriber] = followed

    def strike(self, subscriber: S, followed: T) -> None:
        several = self._several.get(subscriber)
        if several is not None:
            several.discard(followed)
            if not several:
                del self._several[subscriber]
        elif self._one.get(subscriber) == followed:
            del self._one[subscriber]

    def forget(self, subscriber: S) -> Iterable[T]:
        """Forget a subscriber and return what it followed."""
        followed = self.of(subscriber)
        self._one.pop(subscriber, None)
        self._several.pop(subscriber, None)
        return followed

    def of(self, subscriber: S) -> Iterable[T]:
        """Return what a subscriber follows, as it is now."""
        if subscriber in self._one:
            return (self._one[subscriber],)
        return tuple(self._several.get(subscriber, ()))
