"""The references do the bare work that they claim to do."""

import asyncio

import httpx
import pytest

from bench.fanout import raw_writes
from bench.processes import HOST, reference


async def test_raw_writes_reports_what_a_write_costs() -> None:
    cpu_us, per_second = await raw_writes(sockets=5, size=200, seconds=1)
    assert per_second > 0 and cpu_us >= 0


async def test_writes_reach_every_socket() -> None:
    with reference("writes") as (port, _):
        reader, writer = await asyncio.open_connection(HOST, port)
        _, control = await asyncio.open_connection(HOST, port)
        control.write(b"go 20 0.3 100")
        head = await asyncio.wait_for(reader.readexactly(104), 10)
        assert head[:4] == b"\x81\x7e\x00\x64"
        writer.close()
        control.close()


async def test_an_idle_socket_stays_open() -> None:
    with reference("idle") as (port, _):
        reader, writer = await asyncio.open_connection(HOST, port)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        writer.close()


def test_the_http_reference_does_nothing() -> None:
    with reference("http") as (port, _):
        assert httpx.post(f"http://{HOST}:{port}/nothing").json() == {}
