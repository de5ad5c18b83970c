"""A token is shown until a node has taken it: on this connection, later, or on the next one."""

import asyncio

from headrace.errors import Unauthorized, Unavailable
from headrace.events import Presented
from headrace.showing import Showing


class Connection:
    """Numbers what is presented; 0 while it is away."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.is_away = False

    def present(self, token: str) -> int:
        if self.is_away:
            return 0
        self.shown.append(token)
        return len(self.shown)


async def is_taken(showing: Showing) -> bool:
    try:
        async with asyncio.timeout(0):
            await showing.taken()
    except TimeoutError:
        return False
    return True


async def test_a_token_counts_once_it_is_answered() -> None:
    connection = Connection()
    showing = Showing(connection.present)
    assert await is_taken(showing), "none was shown"
    showing.show("first")
    showing.show("second")
    showing.answered(Presented(1, None))
    assert not await is_taken(showing), "that was the answer to the first"
    showing.answered(Presented(2, None))
    assert await is_taken(showing)
    showing.connected()
    assert connection.shown == ["first", "second"]
    assert "second" not in repr(showing)


async def test_a_connection_that_was_dialled_before_is_shown_the_token() -> None:
    connection = Connection()
    showing = Showing(connection.present)
    connection.is_away = True
    showing.show("new")
    connection.is_away = False
    showing.connected()
    showing.connected()
    assert connection.shown == ["new", "new"], "the first of them broke before it answered"
    showing.answered(Presented(2, None))
    assert await is_taken(showing)


async def test_what_cannot_be_judged_now_is_shown_again_and_what_is_refused_is_not() -> None:
    connection = Connection()
    showing = Showing(connection.present)
    showing.show("new")
    showing.answered(Presented(1, Unavailable(retry_ms=1)))
    async with asyncio.timeout(10):
        while len(connection.shown) < 2:
            await asyncio.sleep(0)
    showing.answered(Presented(2, Unauthorized()))
    assert not await is_taken(showing)
    showing.show("third")
    showing.answered(Presented(3, Unavailable(retry_ms=1)))
    showing.stop()
    assert connection.shown == ["new", "new", "third"]
