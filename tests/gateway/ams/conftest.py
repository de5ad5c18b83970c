"""A real server with the room alone, over the memory store."""

from collections.abc import AsyncIterator

import httpx
import pytest
from http_node import OPERATOR, Node, Served, serving

from broker.names import ProjectName, parse_topic
from broker.store.base import ProjectInfo
from gateway.ams.routes import build
from gateway.context import Context


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """Project `p` with topic `t`."""
    async with Node() as node:
        await node.catalog.create_project(ProjectInfo(ProjectName("p"), 0, 0))
        await node.catalog.create_topic(parse_topic("p/t"))
        yield node


@pytest.fixture
async def context(node: Node) -> Context:
    return node.context


@pytest.fixture
async def served(node: Node) -> AsyncIterator[Served]:
    async with serving(build(node.context), metrics=node.metrics) as served:
        yield served


@pytest.fixture
async def argo(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    """What the operator's client sends; no Content-Type, as argo-ams-library."""
    async with httpx.AsyncClient(base_url=f"{served.url}/v1", headers={"x-api-key": OPERATOR}) as client:
        yield client
