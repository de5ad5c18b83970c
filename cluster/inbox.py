"""A node's inbox: what other nodes ask of it, and its own questions to them, over sharded channels of Redis.

A channel promises nothing: what was sent while the receiver reconnected is lost, and the number of receivers that Redis
counts says little. So a request is sent again, under the same id, until it is answered or its time is over; a receiver
carries out an id once and repeats its answer. No answer is a failure that may be retried under the same id. It never
means that the node, or a connection of it, is gone: only leases and directories tell that (DESIGN 5).
"""

import asyncio
import logging
import random
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from broker.errors import HeadraceError, LimitExceeded, ServerError, TooLarge, Unavailable, UnknownOperation
from broker.store.base import Commands, ReplyError
from broker.store.keys import Keys
from cluster.bus import Bus
from cluster.letters import ID_BYTES, Answer, Request, read_letter
from cluster.node import Node

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Of one request or answer: the largest message, and room. Bounds the output buffers of the bus."""

FIRST_RESEND_SECONDS = 0.25
MAX_RESEND_SECONDS = 2.0
"""An unanswered request is sent again after a time that doubles from the first to the last (with jitter)."""

MAX_REQUESTS = 10_000
"""Own requests that wait for their answers."""

MAX_HANDLED = 1000
"""Requests of others in work; what comes above that is not taken, and comes again."""

HANDLE_SECONDS = 30.0
"""For a handler."""

MAX_REMEMBERED = 20_000
MAX_REMEMBERED_BYTES = 32 * 1024 * 1024
"""Answers that are kept in case the request comes again; the oldest go first."""

RETRY_MS = 1000

HEAR_AGAIN_SECONDS = 0.5

Handler = Callable[[Request], Awaitable[bytes]]
"""Returns the answer's body, or raises a `HeadraceError`, which the asking node gets as it is."""

log = logging.getLogger(__name__)


class Inbox:
    """Inert until `serve` runs; then until it is cancelled."""

    def __init__(self, commands: Commands, bus: Bus, node: Node, *, keys: Keys) -> None:
        self._commands = commands
        self._bus = bus
        self._node = node
        self._keys = keys
        self._handlers: dict[str, Handler] = {}
        self._asked: dict[bytes, asyncio.Future[bytes]] = {}
        self._handling: set[bytes] = set()
        self._answers: OrderedDict[bytes, bytes] = OrderedDict()
        self._answer_bytes = 0
        self._tasks: asyncio.TaskGroup | None = None
        self._is_renamed = asyncio.Event()
        self.listening = asyncio.Event()
        """Set while the channel of the node's present id is subscribed."""
        node.on_identity.append(self._is_renamed.set)

    def handle(self, name: str, handler: Handler) -> None:
        """Have requests called `name` answered by `handler`. Raises `ValueError` when there is one already."""
        if name in self._handlers:
            raise ValueError(f"{name} is handled already")
        self._handlers[name] = handler

    async def request(self, node: str, name: str, body: bytes = b"", *, timeout: float, id: bytes = b"") -> bytes:
        """Ask the node with id `node`, and return its answer.

        Raises `Unavailable` when none came in `timeout` seconds, whether it was carried out or not: to try once more,
        pass the same `id`. Raises what the handler refused with. `TooLarge` and `LimitExceeded` come from here.
        """
        request = Request(id or secrets.token_bytes(ID_BYTES), self._node.id, name, body)
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge(f"A request between nodes has at most {MAX_BODY_BYTES} bytes.")
        if len(self._asked) >= MAX_REQUESTS:
            raise LimitExceeded("Too many requests to other nodes are unanswered.", retry_ms=RETRY_MS)
        if request.id in self._asked:
            raise ValueError("this id is being asked already")
        answered = self._asked[request.id] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                return await self._ask(node, request, answered)
        except TimeoutError:
            raise Unavailable(f"The node {node} did not answer in time.", retry_ms=RETRY_MS) from None
        finally:
            del self._asked[request.id]
            # A refusal that came in the last moment is nobody's any more.
            answered.cancel() or answered.exception()

    async def serve(self) -> None:
        """Listen, also under the node's next id, and answer; until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                while True:
                    self._is_renamed.clear()
                    channel = self._keys.inbox(self._node.id)
                    await self._hear(channel)
                    self.listening.set()
                    await self._is_renamed.wait()
                    self.listening.clear()
                    self._bus.stop_hearing(channel)
        finally:
            self._tasks = None
            self.listening.clear()

    async def _hear(self, channel: bytes) -> None:
        while True:
            try:
                await self._bus.hear(channel, self._on_letter)
                return
            except Unavailable:
                await asyncio.sleep(HEAR_AGAIN_SECONDS * random.uniform(0.5, 1.5))

    async def _ask(self, node: str, request: Request, answered: "asyncio.Future[bytes]") -> bytes:
        wait = FIRST_RESEND_SECONDS
        while True:
            # Another id of this node's since the last time, perhaps.
            letter = Request(request.id, self._node.id, request.name, request.body)
            await self._send(node, letter.packed())
            try:
                async with asyncio.timeout(wait * random.uniform(0.8, 1.2)):
                    return await asyncio.shield(answered)
            except TimeoutError:
                wait = min(wait * 2, MAX_RESEND_SECONDS)

    async def _send(self, node: str, letter: bytes) -> None:
        """Send without a promise: whoever waits for the outcome sends again."""
        channel = self._keys.inbox(node)
        try:
            await self._commands.execute(channel, "SPUBLISH", channel, letter, retry=True)
        except (HeadraceError, ReplyError) as error:
            log.debug("a letter to another node could not be sent: %s", error)

    def _on_letter(self, data: bytes) -> None:
        try:
            letter = read_letter(data)
        except ValueError:
            log.warning("something that is no letter came to this node's inbox")
            return
        if isinstance(letter, Answer):
            self._take_answer(letter)
        else:
            self._take_request(letter)

    def _take_answer(self, answer: Answer) -> None:
        asked = self._asked.get(answer.id)
        if asked is None or asked.done():
            return
        if answer.refusal is None:
            asked.set_result(answer.body)
        else:
            asked.set_exception(answer.refusal)

    def _take_request(self, request: Request) -> None:
        if self._tasks is None or request.id in self._handling or len(self._handling) >= MAX_HANDLED:
            return
        if self._node.has_stood_still:
            # What lay in the buffer while the process was stopped was asked of a node that may not exist any more.
            return
        known = self._answers.get(request.id)
        self._handling.add(request.id)
        if known is not None:
            self._tasks.create_task(self._repeat(request, known))
        else:
            self._tasks.create_task(self._answer(request))

    async def _repeat(self, request: Request, answer: bytes) -> None:
        try:
            await self._send(request.sender, answer)
        finally:
            self._handling.discard(request.id)

    async def _answer(self, request: Request) -> None:
        try:
            answer = (await self._handled(request)).packed()
            self._remember(request.id, answer)
            await self._send(request.sender, answer)
        finally:
            self._handling.discard(request.id)

    async def _handled(self, request: Request) -> Answer:
        handler = self._handlers.get(request.name)
        if handler is None:
            return Answer(request.id, refusal=UnknownOperation("This node does not know what is asked of it."))
        try:
            async with asyncio.timeout(HANDLE_SECONDS):
                body = await handler(request)
            if len(body) > MAX_BODY_BYTES:
                return Answer(request.id, refusal=TooLarge(f"An answer has at most {MAX_BODY_BYTES} bytes."))
            return Answer(request.id, body)
        except HeadraceError as refusal:
            return Answer(request.id, refusal=refusal)
        except TimeoutError:
            return Answer(request.id, refusal=Unavailable("The node took too long.", retry_ms=RETRY_MS))
        except Exception:
            log.exception("a request of another node failed", extra={"request": request.name})
            return Answer(request.id, refusal=ServerError("The node failed to do that."))

    def _remember(self, ident: bytes, answer: bytes) -> None:
        self._answers[ident] = answer
        self._answer_bytes += len(answer)
        while len(self._answers) > MAX_REMEMBERED or self._answer_bytes > MAX_REMEMBERED_BYTES:
            _, oldest = self._answers.popitem(last=False)
            self._answer_bytes -= len(oldest)
