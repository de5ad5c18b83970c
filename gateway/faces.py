"""The rooms in front of a node's services: which contracts a node speaks, and how they end."""

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

from broker.store.base import Commands
from gateway import app, logs
from gateway.admin import nodes
from gateway.admission import Admission
from gateway.ams import routes as ams
from gateway.apigateway import room as apigateway
from gateway.channel import room as channel
from gateway.config import Config
from gateway.context import Context
from gateway.departure import Crowd, Departure
from gateway.handshake import Front
from gateway.health import Health
from gateway.http import http_protocol
from gateway.peers import Peers
from gateway.realtime import endpoint as realtime
from gateway.reception import bounds_of
from gateway.server import Parts
from gateway.session import Census
from gateway.sse import endpoint as sse
from gateway.tls import Tls
from gateway.x509 import CertificateFiles, TokenService

MOVING = frozenset({realtime.FACE})
"""Faces whose clients can be asked to go to another node; those of the others are closed, and come back."""

Loop = Callable[[], Coroutine[object, object, None]]


def x509_loops(context: Context) -> dict[str, Loop]:
    """Give tokens for client certificates on a port of its own, where the operator asked for one."""
    config, chosen = context.config, context.config.x509
    if not chosen.port:
        return {}
    files = CertificateFiles(
        certificate=Path(config.tls_cert),
        key=Path(config.tls_key),
        authorities=Path(chosen.authorities),
        revoked=Path(chosen.revoked) if chosen.revoked else None,
    )
    service = TokenService(
        context.accounts,
        files,
        bindings=Path(chosen.bindings),
        hosts=chosen.hosts,
        host=config.host,
        port=chosen.port,
    )
    return {"x509": service.serve}


def faces(
    context: Context, health: Health, loops: dict[str, Loop], *, census: Census, peers: Peers, commands: Commands
) -> Parts:
    """Put the rooms in front of a node's services."""
    config, limits, metrics = context.config, context.config.limits, context.metrics
    tls = Tls(Path(config.tls_cert), Path(config.tls_key)) if config.tls_cert else None
    if tls:
        loops = {**loops, "tls": tls.serve, **x509_loops(context)}
    front = realtime.front(context, census=census, bulletin=peers.bulletin)
    peers.attend(front)
    claims: list[app.Claim] = []
    ending: list[channel.Room] = []
    if config.channel.enabled:
        channels = channel.build(context, front, commands, peers.inbox, node_id=lambda: peers.node.id)
        peers.node.on_evicted.append(channels.evict)
        loops = {**loops, **channels.loops}
        claims.append(app.Claim(channels.takes, channels))
        ending.append(channels)
    aws = apigateway.build(context, peers, front.node)
    front.waiting_rooms.append(aws.endpoint)
    loops, claims = {**loops, **aws.loops}, [*claims, *aws.claims]
    departure = Departure(peers.node, peers.bulletin, grace_seconds=config.drain_seconds)

    def on_draining() -> None:
        health.draining = metrics.draining = True
        peers.on_draining()
        for room in ending:
            room.drain()

    return Parts(
        app=app.build(
            ams=ams.build(context),
            sse=sse.build(context),
            health=health,
            metrics=metrics,
            origins=context.auth,
            claims=claims,
            routers=[nodes.build(context.auth, peers.node, now_ms=context.now_ms)],
        ),
        http=http_protocol(bounds_of(limits), census, metrics, Admission(limits.accept_per_second)),
        websocket=front.protocol_class(),
        metrics=metrics,
        loops=loops,
        drain=lambda: _drain(context, front, peers, aws, ending),
        on_draining=on_draining,
        move=lambda connections: departure.move(Crowd(front, connections, moving=MOVING)),
        end_seconds=config.drain_seconds or math.inf,
        tls=tls,
        apply=lambda config: _apply(config, context, peers, tls),
    )


def _apply(config: Config, context: Context, peers: Peers, tls: Tls | None) -> None:
    """Put the live options of `config` into force: those of `gateway.reloading.LIVE`."""
    logs.set_level(config.log.level.value.upper())
    context.auth.reconfigure(config)
    context.catalog.reconfigure(config.catalog_defaults)
    peers.reconfigure(config)
    if tls and config.tls_cert and config.tls_key:
        tls.use(Path(config.tls_cert), Path(config.tls_key))


async def _drain(
    context: Context, front: Front, peers: Peers, aws: apigateway.Room, ending: Sequence[channel.Room]
) -> None:
    """Answer the publishes in flight, give back duties, close the sockets (1012), tell of it, leave; all bounded."""
    await asyncio.gather(context.publisher.drain(), peers.give_back())
    await front.drain()
    await aws.drain()
    await context.consumers.drain()
    await asyncio.gather(*(room.settle() for room in ending))
    await peers.leave()
    await aws.close()
