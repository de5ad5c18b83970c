"""Nodes with the Channel API on a real Valkey."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import servers
from channel_site import Site, Sites, sites_on

from broker.store.scripts import ALL
from cluster.address import parse_address
from cluster.topology import Topology

WAIT_SECONDS = 15.0


@pytest.fixture
async def commands(valkey: servers.Server) -> AsyncIterator[Topology]:
    topology = Topology(parse_address(valkey.url), name="test", scripts=ALL)
    task = asyncio.create_task(topology.serve())
    await topology.connected(WAIT_SECONDS)
    yield topology
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.fixture
def sites(commands: Topology) -> Sites:
    return sites_on(commands)


@pytest.fixture
async def site(sites: Sites) -> AsyncIterator[Site]:
    async with sites() as site:
        yield site
