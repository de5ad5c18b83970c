"""The room's requests over HTTP, all GET: the development server's protocol, and our own script's long poll.

    /_ah/channel/dev?command=connect|poll|disconnect&channel=TOKEN[&client=CLIENT]     contracts/channel 5
    /_ah/channel/poll, /_ah/channel/stream                                             gateway/channel/wire.py

The development server's checks come in its order: method, parameters, token. A page's answer has a status, a reason
phrase, Cache-Control, and nothing else that the original's has not.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from broker.errors import HeadraceError, InvalidRequest, ServerError, Unavailable
from gateway.asgi import HeaderList, Receive, Scope, Send, headers_of, query_of
from gateway.channel import wire
from gateway.channel.answers import JSON, TEXT, answer, refuse
from gateway.channel.errors import Told, told
from gateway.channel.polls import Poll, Polls
from gateway.channel.services import Services
from gateway.channel.tokens import Grant
from gateway.channel.wire import Label

UNNAMED = Label("poll")
"""The connection of polls that name none."""

POLLED_AT_ONCE = 100
"""Messages in the answer to our own script."""

METHOD_NOT_ALLOWED, FORBIDDEN = Told(405, ""), Told(403, "Forbidden")

log = logging.getLogger(__name__)

Query = Mapping[str, str]


class Request:
    """One request, its query read, its origin checked."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, query: Query, headers: HeaderList) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.query = query
        self.headers = headers
        """That a page of another origin needs with its answer."""

    @property
    def label(self) -> Label | None:
        return wire.read_label(self.query.get("client", ""))

    async def answer(self, body: bytes = b"", *headers: tuple[bytes, bytes]) -> bool:
        return await answer(self.scope, self.send, 200, body=body, headers=[*headers, *self.headers])

    async def refuse(self, error: HeadraceError, *, body: bytes = b"") -> None:
        headers = [JSON, *self.headers] if body else self.headers
        await refuse(self.scope, self.send, told(error), headers=headers, body=body)

    async def gone(self) -> None:
        """Return when the peer has left."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


Handler = Callable[[Request], Awaitable[None]]


class Routes:
    """The ASGI app for one path of the room."""

    def __init__(self, services: Services, handler: Handler) -> None:
        self._services = services
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            await refuse(scope, send, METHOD_NOT_ALLOWED, headers=[(b"allow", b"GET")])
            return
        headers: HeaderList = []
        given = headers_of(scope)
        if origin := given.get(b"origin"):
            host = given.get(b"host", b"").decode("latin-1")
            if not self._services.allows_origin(origin.decode("latin-1"), host):
                await refuse(scope, send, FORBIDDEN)
                return
            headers = [(b"access-control-allow-origin", origin), (b"vary", b"origin")]
        try:
            request = Request(scope, receive, send, query=query_of(scope), headers=headers)
        except InvalidRequest as error:
            await refuse(scope, send, told(error), headers=headers)
            return
        try:
            await self._handler(request)
        except HeadraceError as error:
            self._services.metrics.refused(error.code)
            await request.refuse(error)
        except Exception:
            log.exception("a request of a channel's page failed")
            await request.refuse(Unavailable())


class Dev:
    """`/_ah/channel/dev`."""

    def __init__(self, services: Services, polls: Polls) -> None:
        self._services = services
        self._polls = polls
        self._commands: dict[str, Callable[[Request, Grant], Awaitable[None]]] = {
            "connect": self._connect,
            "poll": self._poll,
            "disconnect": self._disconnect,
        }

    async def __call__(self, request: Request) -> None:
        command = self._commands.get(request.query.get("command", ""))
        if command is None or "channel" not in request.query:
            raise InvalidRequest
        await command(request, self._services.grant(request.query["channel"]))

    async def _connect(self, request: Request, grant: Grant) -> None:
        label, _ = await self._polls.connect(grant.client_id)
        await request.answer(str(label).encode(), TEXT)

    async def _poll(self, request: Request, grant: Grant) -> None:
        async def write(poll: Poll) -> bool:
            if not poll.messages:
                return await request.answer()
            return await request.answer(poll.messages[0].data, JSON)

        held = self._polls.poll(grant, request.label or UNNAMED, last_id=None, most=1)
        try:
            await hold(self._polls, request, held, write)
        except ServerError:
            # A page of 2012 takes any error for the end of its channel; after this it asks again.
            await request.answer()

    async def _disconnect(self, request: Request, grant: Grant) -> None:
        await self._polls.close(grant.client_id, request.label or UNNAMED)
        await request.answer()


class LongPoll:
    """`/_ah/channel/poll`: as many messages as there are, after the last one that the page got."""

    def __init__(self, services: Services, polls: Polls) -> None:
        self._services = services
        self._polls = polls

    async def __call__(self, request: Request) -> None:
        try:
            await self._answer(request)
        except HeadraceError as error:
            self._services.metrics.refused(error.code)
            await request.refuse(error, body=wire.listed([wire.error(told(error))]))

    async def _answer(self, request: Request) -> None:
        grant = self._services.grant(request.query.get("channel", ""))
        last_id = wire.read_last_id(request.query.get("last_id", ""))
        if request.query.get("check") == "1":
            await request.answer(wire.listed([]), JSON)
            return

        async def write(poll: Poll) -> bool:
            frames = [wire.opened(poll.label, poll.after, expires_s=grant.expires_s)]
            frames += [wire.gap(poll.skipped)] if poll.skipped else []
            frames += [wire.message(message) for message in poll.messages]
            return await request.answer(wire.listed(frames), JSON)

        label = request.label
        if label is None:
            # At once, and without messages: a page that does not know its place yet could not ask for them again.
            label, at = await self._polls.connect(grant.client_id, last_id=last_id)
            await request.answer(wire.listed([wire.opened(label, at, expires_s=grant.expires_s)]), JSON)
            return
        waits = request.query.get("wait") != "0"
        held = self._polls.poll(grant, label, last_id=last_id, most=POLLED_AT_ONCE, waits=waits)
        await hold(self._polls, request, held, write)


async def hold(polls: Polls, request: Request, held: Awaitable[Poll], write: Callable[[Poll], Awaitable[bool]]) -> None:
    """Answer a poll when it is due, unless its peer leaves before."""
    polling = asyncio.ensure_future(held)
    gone = asyncio.ensure_future(request.gone())
    try:
        await asyncio.wait((polling, gone), return_when=asyncio.FIRST_COMPLETED)
        if not polling.done():
            # It waits for its own last word: the client is as good as gone.
            return
        poll = polling.result()
        await polls.note(poll)
        if gone.done() or not await write(poll):
            await polls.put_back(poll)
    finally:
        gone.cancel()
        polling.cancel()
        await asyncio.gather(gone, polling, return_exceptions=True)
