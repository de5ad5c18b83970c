"""A node runs on uvloop, so what handles its sockets is tested on it."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import uvloop

ON_UVLOOP = {"sse", "ams", "test_http.py", "test_reception.py", "test_streams.py", "test_asgi.py"}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]] | None:
    path = Path(item.path)
    if path.name in ON_UVLOOP or path.parent.name in ON_UVLOOP:
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}
