"""The room put together: the Channel API of one node, what it takes of HTTP and of WebSockets, and its loops."""

import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from broker.store.base import Commands
from broker.store.channels import ChannelRules, ChannelStore
from gateway.asgi import AsgiApp, Receive, Scope, Send
from gateway.channel import rpc
from gateway.channel.answers import refuse
from gateway.channel.attached import Attached, Inbox
from gateway.channel.delivery import Delivery
from gateway.channel.errors import Told
from gateway.channel.lines import Lines
from gateway.channel.polls import Polls
from gateway.channel.ports import Notifier
from gateway.channel.presence import Presences
from gateway.channel.routes import Dev, Handler, LongPoll, Routes
from gateway.channel.script import Script
from gateway.channel.services import Services
from gateway.channel.settings import Channel, Profile, Second
from gateway.channel.socket import SocketRoom
from gateway.channel.stream import Stream
from gateway.channel.tokens import Tokens
from gateway.channel.topics import Bindings
from gateway.channel.webhooks import Webhooks, secrets_of
from gateway.context import Context
from gateway.handshake import Front
from gateway.options import Secret

PREFIX = "/_ah/"

NOT_FOUND = Told(404, "Not Found")

Loop = Callable[[], Coroutine[object, object, None]]


@dataclass(frozen=True, slots=True)
class Room:
    """The Channel API of one node."""

    channels: Delivery
    """What its back ends call."""
    paths: dict[str, AsgiApp]
    loops: dict[str, Loop]
    evict: Callable[[], None]
    """To be called when the node was held to be gone: ends what no front of WebSockets ends."""
    drain: Callable[[], None]
    """To be called when the node is to end: polls are held no more."""
    settle: Loop
    """To be awaited before the node ends: what the application was not told yet is told. Bounded."""

    def takes(self, scope: Scope) -> bool:
        """Tell whether a request is this room's to answer."""
        path: str = scope["path"]
        return path.startswith(PREFIX) or path in self.paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.paths.get(scope["path"])
        if app is None:
            await refuse(scope, send, NOT_FOUND)
        else:
            await app(scope, receive, send)


def rules_of(settings: Channel) -> ChannelRules:
    return ChannelRules(
        strict=settings.profile is Profile.STRICT,
        mirrors=settings.second is Second.MIRRORS,
        keep_ms=round(settings.buffer_seconds * 1000),
        keep_messages=settings.buffer_messages,
        keep_bytes=settings.buffer_bytes,
    )


def build(
    context: Context,
    front: Front,
    commands: Commands,
    inbox: Inbox,
    *,
    node_id: Callable[[], str],
    notifier: Notifier | None = None,
) -> Room:
    """Build it over a node's services; its sockets come through `front`. `notifier`: who is told instead of the URL."""
    config, settings = context.config, context.config.channel
    # Without a key of the operator's no token outlives the node: a check of the configuration asks for one.
    secret_key = config.secret_key or Secret(secrets.token_hex(32))
    webhooks = Webhooks(
        context.outgoing,
        url=settings.presence_url,
        secrets=secrets_of(given=settings.presence_secret, key=secret_key, old=config.secret_key_old),
        retry=settings.presence_retry,
        now_ms=context.now_ms,
    )
    told = notifier or (webhooks if settings.presence_url else None)
    tokens = Tokens(secret_key, old=config.secret_key_old)
    services = _services(context, commands, Attached(inbox, node_id), tokens=tokens, notifier=told)
    channels = Delivery(
        services.store, services.attached, context.catalog, tokens=tokens, settings=settings, now_ms=context.now_ms
    )
    lines = Lines(services)
    polls = Polls(services, lines.spawn)
    _watch(context, polls, webhooks)
    front.waiting_rooms.append(SocketRoom(services, lines, front.node))
    remote = rpc.build(
        context.auth,
        channels,
        application=settings.application,
        default_minutes=settings.token_minutes,
        metrics=context.metrics,
    )
    return Room(
        channels=channels,
        paths={**pages(services, lines, polls), **dict.fromkeys(rpc.PATHS, remote)},
        loops={
            "channel lines": lines.run,
            "channel presence": services.presences.run,
            "channel webhooks": webhooks.run,
        },
        evict=lines.evict,
        drain=polls.drain,
        settle=webhooks.settle,
    )


def _watch(context: Context, polls: Polls, webhooks: Webhooks) -> None:
    watch = context.metrics.watch
    watch("headrace_channel_polls", "Polls of channels that are held.", lambda: len(polls))
    watch("headrace_channel_presence_waiting", "Presence events that wait to be told.", lambda: webhooks.waiting)
    watch("headrace_channel_presence_delayed", "Presence events that found no room.", lambda: webhooks.dropped)


def _services(
    context: Context, commands: Commands, attached: Attached, *, tokens: Tokens, notifier: Notifier | None
) -> Services:
    settings = context.config.channel
    store = ChannelStore(commands, rules_of(settings), prefix=context.config.prefix)
    return Services(
        store=store,
        attached=attached,
        presences=Presences(store, notifier, retries=settings.presence_retry, gone_seconds=settings.gone_seconds),
        bindings=Bindings(
            context.hub, store, context.metrics, wake=attached.wake, linger_seconds=settings.gone_seconds
        ),
        tokens=tokens,
        settings=settings,
        metrics=context.metrics,
        now_ms=context.now_ms,
        allows_origin=context.auth.allows_origin,
    )


def pages(services: Services, lines: Lines, polls: Polls) -> dict[str, AsgiApp]:
    """Return what pages ask for, by path."""
    handlers: dict[str, Handler] = {
        "/_ah/channel/dev": Dev(services, polls),
        "/_ah/channel/jsapi": Script(),
        "/_ah/channel/poll": LongPoll(services, polls),
        "/_ah/channel/stream": Stream(services, lines),
    }
    return {path: Routes(services, handler) for path, handler in handlers.items()}
