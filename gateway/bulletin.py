"""What a node tells its clients of the cluster, and who tells it: rooms whose protocol can say it stand in `tellers`.

The list is looked at whenever the leases have been read. A client that comes is told what holds then; those that are
there hear of it only when it is news to them.
"""

from typing import Protocol

from cluster.servers import Told, is_news


class Teller(Protocol):
    """A room that tells its clients. Nothing here may raise or block."""

    def tell(self, told: Told) -> None:
        """The list of servers is another one, or the spread is quite another."""

    def ask_to_leave(self, told: Told, *, deadline_ms: int) -> None:
        """The node leaves: clients should be with others `deadline_ms` from now. Nothing is told after this."""


class Bulletin:
    """One for all rooms of a node."""

    def __init__(self, told: Told) -> None:
        self.told = told
        """What holds now."""
        self.tellers: list[Teller] = []
        self._known = told
        self._is_leaving = False

    def post(self, told: Told) -> None:
        """This holds from now on. Spreads that creep are summed up until they are news."""
        self.told = told
        if self._is_leaving or not is_news(told, known=self._known):
            return
        self._known = told
        for teller in self.tellers:
            teller.tell(told)

    def ask_to_leave(self, told: Told, *, deadline_ms: int) -> None:
        """Ask all clients to go to the servers of `told`. The last that they hear."""
        self.told = told
        self._is_leaving = True
        for teller in self.tellers:
            teller.ask_to_leave(told, deadline_ms=deadline_ms)
