"""Nodes with the Channel API on a real Valkey."""

from collections.abc import AsyncIterator

import pytest
import servers
from channel_site import Site, Sites, commanding, sites_on

from cluster.topology import Topology


@pytest.fixture
async def commands(valkey: servers.Server) -> AsyncIterator[Topology]:
    async with commanding(valkey) as commands:
        yield commands


@pytest.fixture
def sites(commands: Topology) -> Sites:
    return sites_on(commands)


@pytest.fixture
async def site(sites: Sites) -> AsyncIterator[Site]:
    async with sites() as site:
        yield site
