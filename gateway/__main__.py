"""The composition root: configuration in, a running node out. `python -m gateway` is the command `headrace`.

    engine (embedded mode) -> topology -> store, records, bus -> catalog, hub, services -> context -> rooms -> server

Nothing else in the gateway builds a service; whoever wants to know what a node is made of reads `compose`.
"""

import asyncio
import contextlib
import logging
import secrets
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path

from broker.accounts import Accounts
from broker.catalog import Catalog
from broker.consumers import Consumers
from broker.deadletters import DeadLetters
from broker.hub import Hub
from broker.listening import Listening
from broker.publish import Publisher
from broker.schema_catalog import SchemaCatalog
from broker.store import scripts
from broker.store.records import Records
from broker.store.records_redis import RedisRecords
from broker.store.redis import RedisStore
from broker.subscriptions import Subscriptions
from broker.waiting import Waiting
from cluster import scripts as cluster_scripts
from cluster.address import Address, InvalidAddress, parse_address
from cluster.bus import Bus
from cluster.duties import Duties
from cluster.engine import Engine, EngineError
from cluster.probe import Probe
from cluster.topology import Topology
from gateway.ams.receiving import message_document, zulu
from gateway.auth import Authenticator
from gateway.config import Config, ConfigError
from gateway.context import Context
from gateway.faces import Loop, faces
from gateway.health import Health, Readiness
from gateway.metrics import Metrics
from gateway.options import Secret
from gateway.outgoing import Outgoing
from gateway.peers import RETENTION
from gateway.peers import build as build_peers
from gateway.push.pusher import Pusher
from gateway.push.worker import Services
from gateway.pushes import Pushes
from gateway.realtime import endpoint as realtime
from gateway.reloading import Reloading
from gateway.rotation import seal_again
from gateway.server import Parts, Stop, run
from gateway.session import Census
from gateway.tls import CertificateError
from gateway.vault import Vault

log = logging.getLogger("gateway")

CRASHED = 1
"""Exit status of a node that could not start, or ended although nobody asked it to."""

MISCONFIGURED = 2

NAME_BYTES = 3
"""Of a generated node name, in hexadecimal digits behind `node-`."""


@dataclass(frozen=True, slots=True)
class Substrate:
    """The Redis of a node, and what keeps it running in embedded mode."""

    address: Address
    loops: dict[str, Loop]


async def run_node(
    given: Config,
    listener: socket.socket,
    *,
    on_listening: Callable[[Config], None],
    read: Callable[[], Config] | None = None,
) -> int:
    """Run a node on a bound socket until a signal ends it; returns the exit status.

    `on_listening` gets the configuration as it is in force: with the node's name and its port. `read` reads the
    configuration again, at SIGHUP.
    """
    config = in_force(given, listener)
    stop = Stop()
    try:
        with stop.on_signals():
            async with substrate(config, stop) as redis:
                if not stop.asked.is_set():
                    parts = compose(config, redis)
                    if read:
                        stop.on_hangup = Reloading(config, given=given, read=read, apply=parts.apply).reload
                    await run(parts, listener, stop, on_listening=lambda: on_listening(config))
    except ConfigError as errors:
        for mistake in errors.mistakes:
            log.error("%s", mistake)
        return MISCONFIGURED
    except InvalidAddress as error:
        log.error("redis: %s", error)
        return MISCONFIGURED
    except CertificateError as error:
        log.error("tls: %s", error)
        return MISCONFIGURED
    except EngineError as error:
        log.error("%s", error)
        return CRASHED
    except ExceptionGroup as errors:
        log.critical("the node ends: a part of it has crashed", exc_info=errors)
        return CRASHED
    return 0


def in_force(config: Config, listener: socket.socket) -> Config:
    """Return the configuration with a name, and with the port that was taken."""
    name = config.name or f"node-{secrets.token_hex(NAME_BYTES)}"
    return replace(config, name=name, port=listener.getsockname()[1])


@contextlib.asynccontextmanager
async def substrate(config: Config, stop: Stop) -> AsyncIterator[Substrate]:
    """The configured Redis, which may be away; or the embedded engine, running, until the context is left."""
    if config.redis is not None:
        yield Substrate(parse_address(config.redis.value), {})
        return
    engine = Engine(Path(config.data), program=config.embedded.engine, start_seconds=config.embedded.start_seconds)
    try:
        await _unless_asked(stop, engine.start())
        yield Substrate(engine.address, {"engine": engine.serve})
    finally:
        await engine.stop()


async def _unless_asked(stop: Stop, work: Coroutine[object, object, None]) -> None:
    """Await `work`, or give it up when the node is told to stop."""
    asked = asyncio.create_task(stop.asked.wait())
    working = asyncio.create_task(work)
    try:
        await asyncio.wait((asked, working), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        asked.cancel()
        working.cancel()
        await asyncio.wait((asked, working))


def compose(config: Config, redis: Substrate) -> Parts:
    """Build every service of a node. Nothing runs yet."""
    metrics = Metrics()
    topology = Topology(redis.address, name=f"headrace-{config.name}", scripts=(*scripts.ALL, *cluster_scripts.ALL))
    store = RedisStore(topology, prefix=config.prefix)
    bus = Bus(topology, channel_of=lambda topic: store.keys.topic(topic).live)
    listening = Listening(bus)
    bus.deliver_to(listening)
    catalog = Catalog(store, monotonic=time.monotonic, defaults=config.catalog_defaults, observer=metrics)
    hub = Hub(
        store,
        listening,
        observer=metrics,
        now_ms=wall_ms,
        monotonic=time.monotonic,
        ask_topology=topology.refresh,
        create_on_use=catalog.create_on_use,
    )
    listening.deliver_to(hub)
    records = RedisRecords(topology, prefix=config.prefix)
    context = _services(
        config, store=store, records=records, listening=listening, hub=hub, catalog=catalog, metrics=metrics
    )
    loops: dict[str, Loop] = {
        "topology": topology.serve,
        "bus": bus.serve,
        "hub": hub.run,
        "limits": catalog.watch_limits,
        "consumers": context.consumers.run,
        "users": context.auth.run,
    }
    if config.secret_key_old:
        loops["rotation"] = lambda: seal_again([context.accounts.reseal, context.pushes.reseal])
    limits = config.limits
    census = Census(connections=limits.connections, connections_per_address=limits.connections_per_address)
    url = realtime.advertised(config.advertise, config.host, config.port, scheme=config.scheme)
    peers = build_peers(config, topology, bus, keys=store.keys, url=url, load=lambda: census.total)
    loops |= push_loops(context, peers.duties)
    loops |= {RETENTION: lambda: peers.duties.run(RETENTION, lambda _: catalog.run()), **peers.loops}
    probe = Probe(topology, bus, names=lambda number: store.keys.probe(config.name, number))

    async def readiness() -> Readiness:
        report = await probe.check()
        return Readiness(report.ready, report.reasons)

    return faces(context, Health(readiness), {**redis.loops, **loops}, census=census, peers=peers, commands=topology)


def _services(
    config: Config,
    *,
    store: RedisStore,
    records: Records,
    listening: Listening,
    hub: Hub,
    catalog: Catalog,
    metrics: Metrics,
) -> Context:
    """Build what the rooms are given, on top of log and records."""
    waiting, clock = Waiting(listening), time.monotonic
    subscriptions = Subscriptions(
        store, DeadLetters(store, catalog), waiting, monotonic=clock, limits_of=catalog.limits_of
    )
    # Without a key of the operator's no token outlives the node: a check of the configuration asks for one.
    vault = Vault(config.secret_key or Secret(secrets.token_hex(32)), old=config.secret_key_old)
    accounts = Accounts(records, vault, require_project=catalog.project, by_resource=config.per_resource_auth)
    schemas = SchemaCatalog(records, monotonic=clock, new_id=lambda: str(uuid.uuid4()))
    return Context(
        config=config,
        hub=hub,
        publisher=Publisher(
            store,
            catalog,
            observer=metrics,
            monotonic=clock,
            limits=config.limits.publishing,
            gate=schemas,
            admit=catalog.admit,
            must_be_heard=catalog.must_be_heard,
        ),
        catalog=catalog,
        subscriptions=subscriptions,
        consumers=Consumers(subscriptions, waiting, monotonic=clock),
        accounts=accounts,
        schemas=schemas,
        pushes=Pushes(records, vault, new_id=lambda: str(uuid.uuid4())),
        outgoing=Outgoing(config.push.outgoing),
        auth=Authenticator(config, now_ms=wall_ms, monotonic=clock, accounts=accounts),
        metrics=metrics,
        now_ms=wall_ms,
    )


def push_loops(context: Context, duties: Duties) -> dict[str, Loop]:
    """Deliver what is pushed, unless the operator turned that off; every node knows the configurations."""
    if not context.config.push.enabled:
        return {"pushes": context.pushes.run}
    services = Services(
        subscriptions=context.subscriptions,
        pushes=context.pushes,
        outgoing=context.outgoing,
        document_of=message_document,
        now=lambda: zulu(context.now_ms()),
        monotonic=time.monotonic,
    )
    return {"pushes": context.pushes.run, "push": Pusher(services, duties).run}


def wall_ms() -> int:
    """The wall clock, Unix milliseconds."""
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    from gateway.cli import main

    main()
