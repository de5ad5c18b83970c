"""Connections: resident memory of idle realtime connections with one subscription each, beside bare uvloop sockets."""

import asyncio

from bench.processes import HOST, node, raise_file_limit, reference
from bench.report import Report, Target
from bench.sockets import LoadSocket, connect, keep_alive, request_answer, resident_bytes

TOPIC = "default/bench/connections"
AT_ONCE = 100
SETTLE_SECONDS = 3.0
"""Garbage of the handshakes is collected before the memory is read."""
WARM = 200
"""Connections opened and closed first, so that what a node allocates once is not counted."""


async def join(url: str, token: str) -> LoadSocket:
    socket = await connect(url, token)
    await request_answer(socket, {"op": "subscribe", "id": 1, "topic": TOPIC, "since": "now"}, "subscribed")
    socket.receive = lambda chunk: None
    return socket


async def join_all(url: str, token: str, count: int) -> list[LoadSocket]:
    sockets: list[LoadSocket] = []
    alive = asyncio.create_task(keep_alive(sockets))
    for start in range(0, count, AT_ONCE):
        sockets += await asyncio.gather(*(join(url, token) for _ in range(start, min(start + AT_ONCE, count))))
    alive.cancel()
    return sockets


async def bare(count: int) -> float:
    """Return resident bytes a connection of bare uvloop sockets."""
    with reference("idle") as (port, pid):
        loop = asyncio.get_running_loop()
        warm = [await loop.create_connection(asyncio.Protocol, HOST, port) for _ in range(WARM)]
        for transport, _ in warm:
            transport.abort()
        await asyncio.sleep(SETTLE_SECONDS)
        before = resident_bytes(pid)
        crowd = [await loop.create_connection(asyncio.Protocol, HOST, port) for _ in range(count)]
        await asyncio.sleep(SETTLE_SECONDS)
        used = resident_bytes(pid) - before
        for transport, _ in crowd:
            transport.abort()
        return used / count


async def connections(*, count: int) -> Report:
    """Open `count` connections, subscribe each, and see what they cost while nothing happens."""
    raise_file_limit()
    report = Report("connections", {"connections": count}, ("what", "connections", "bytes/connection"))
    report.rows.append(("bare uvloop sockets", count, await bare(count)))
    with node(env={"HEADRACE_LIMITS_ACCEPT_PER_SECOND": "0"}) as running:
        publisher = await connect(running.url, running.token)
        await request_answer(publisher, {"op": "publish", "id": 1, "topic": TOPIC, "text": "first"}, "published")
        for socket in await join_all(running.url, running.token, WARM):
            socket.transport.abort()
        await asyncio.sleep(SETTLE_SECONDS)
        before = resident_bytes(running.pid)
        crowd = await join_all(running.url, running.token, count)
        await asyncio.sleep(SETTLE_SECONDS)
        each = (resident_bytes(running.pid) - before) / count
        report.rows.append(("realtime, one subscription", count, each))
        heard = await _all_hear(publisher, crowd)
        if heard != count:
            report.faults.append(f"{count - heard} of {count} connections did not get the message that ended the run")
        for socket in [*crowd, publisher]:
            socket.transport.abort()
    report.targets.append(Target("KiB a connection", each / 1024, 6.0))
    return report


async def _all_hear(publisher: LoadSocket, crowd: list[LoadSocket]) -> int:
    """Publish once and count the sockets that get it: an idle connection that is dead costs nothing, and is a lie."""
    heard = 0

    def receive(chunk: bytes) -> None:
        nonlocal heard
        heard += b'"op":"message"' in chunk

    for socket in crowd:
        socket.receive = receive
    await request_answer(publisher, {"op": "publish", "id": 2, "topic": TOPIC, "text": "last"}, "published")
    for _ in range(500):
        if heard >= len(crowd):
            break
        await asyncio.sleep(0.02)
    return heard
