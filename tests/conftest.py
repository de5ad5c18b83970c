"""Servers that a whole run shares. Tests keep apart by names of their own, or call `flush()` first.

A test that kills, pauses or migrates starts its own: `with servers.valkey() as server`.
"""

from collections.abc import Iterator

import pytest
import servers


@pytest.fixture(scope="session")
def valkey() -> Iterator[servers.Server]:
    """The embedded Valkey 9.1."""
    with servers.valkey() as server:
        yield server


@pytest.fixture(scope="session")
def redis7() -> Iterator[servers.Server]:
    """Debian's Redis 7.0, the oldest that is served."""
    with servers.redis7() as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[servers.Cluster]:
    """Three primaries."""
    with servers.cluster() as cluster:
        yield cluster


@pytest.fixture(params=["valkey", "redis7", "redis_cluster"])
def substrate(request: pytest.FixtureRequest) -> servers.Server | servers.Cluster:
    """Each kind of Redis in turn, emptied. All have `url`, `primaries` and `flush()`."""
    server: servers.Server | servers.Cluster = request.getfixturevalue(request.param)
    server.flush()
    return server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="Run the tests marked `long` too.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        return
    skipped = pytest.mark.skip(reason="long: runs with --long")
    for item in items:
        if "long" in item.keywords:
            item.add_marker(skipped)
