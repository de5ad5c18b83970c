"""Posts to connections of other nodes: what one turn of the event loop brings for a node shares a letter."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from broker.errors import HeadraceError, Unavailable
from gateway.apigateway.cluster.letters import Post, packed_posts, read_outcomes

MAX_POSTS = 500
MAX_LETTER_BYTES = 1024 * 1024
"""Of a letter; one larger post goes alone."""

INVOCATION_BYTES = 12
"""Of what a post is known by that came without an id of its own: a letter may reach its node twice."""

Send = Callable[[str, bytes], Awaitable[bytes]]
"""Takes a node's id and a letter, returns its answer. Raises what the way there brings."""


@dataclass(slots=True)
class _Waiting:
    post: Post
    written: "asyncio.Future[None]"


class Courier:
    """`serve` must be running."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: dict[str, list[_Waiting]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    async def post(self, node: str, post: Post) -> None:
        """Return when the node has written it. Raises why it was not written, `Unavailable`."""
        if self._tasks is None:
            raise Unavailable("The node is starting or stopping.", retry_ms=1000)
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._leave)
        waiting = _Waiting(post, loop.create_future())
        self._waiting.setdefault(node, []).append(waiting)
        await waiting.written

    async def serve(self) -> None:
        """Carry letters until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                await asyncio.get_running_loop().create_future()
        finally:
            self._tasks = None

    def _leave(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for node, posts in waiting.items():
            for letter in _letters(posts):
                if self._tasks is not None:
                    self._tasks.create_task(self._carry(node, letter))

    async def _carry(self, node: str, letter: list[_Waiting]) -> None:
        try:
            answer = await self._send(node, packed_posts([waiting.post for waiting in letter]))
            outcomes = read_outcomes(answer)
            if len(outcomes) != len(letter):
                raise ValueError("not one outcome for each post")
        except HeadraceError as refusal:
            outcomes = [refusal] * len(letter)
        except ValueError:
            outcomes = [Unavailable("The owner's answer cannot be read.", retry_ms=1000)] * len(letter)
        for waiting, outcome in zip(letter, outcomes, strict=True):
            if waiting.written.done():
                continue
            if outcome is None:
                waiting.written.set_result(None)
            else:
                waiting.written.set_exception(outcome)


def known_by(invocation: str | None) -> str:
    """Return what a post is known by between nodes: the caller's own id, or one that no other post has."""
    return invocation if invocation is not None else secrets.token_hex(INVOCATION_BYTES)


def _letters(posts: list[_Waiting]) -> list[list[_Waiting]]:
    letters: list[list[_Waiting]] = []
    size = 0
    for waiting in posts:
        size += len(waiting.post.data)
        if not letters or len(letters[-1]) >= MAX_POSTS or size > MAX_LETTER_BYTES:
            letters.append([])
            size = len(waiting.post.data)
        letters[-1].append(waiting)
    return letters
