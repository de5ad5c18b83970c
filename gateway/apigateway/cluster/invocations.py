"""Which posts were written already: all attempts of one SDK call carry the same id (contracts/apigateway 4). Pure.

The owner of a connection asks this in the breath in which it writes, so a post that comes again is written once,
whichever nodes its attempts went through. Nothing of it is in Redis: with the owner the connection is gone.
"""

KEPT_SECONDS = 120.0
"""At least so long a post is known: an SDK repeats for 15 s, or after a read timeout of 60 s."""

MAX_KEPT = 100_000
"""Of a generation, 8 bytes and some each; above, the older generation is forgotten sooner."""


class Invocations:
    """Two generations of digests: the older one is forgotten as a whole."""

    __slots__ = ("_new", "_old", "_since")

    def __init__(self, now: float) -> None:
        self._new: set[int] = set()
        self._old: set[int] = set()
        self._since = now

    def __contains__(self, post: tuple[str, str]) -> bool:
        """Tell whether (connection, invocation) was written."""
        # Python's hash of texts is keyed by a secret of the process: nobody finds a second pair of the same.
        digest = hash(post)
        return digest in self._new or digest in self._old

    def note(self, connection: str, invocation: str, now: float) -> None:
        if now - self._since >= KEPT_SECONDS or len(self._new) >= MAX_KEPT:
            self._old, self._new, self._since = self._new, set(), now
        self._new.add(hash((connection, invocation)))
