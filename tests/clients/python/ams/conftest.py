"""A scripted ARGO service for each test, and a local CA for the run."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import argo_stub
import pytest
from argo_stub import TOKEN, Argo, Authority, Stub

from headrace.ams import ArgoMessagingService


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return argo_stub.authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The local CA is trusted, as an operator would arrange it for either library."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.ca))
    return authority.ca


@pytest.fixture
def stub() -> Iterator[Stub]:
    """Over http."""
    with argo_stub.stub() as running:
        yield running


@pytest.fixture
def cluster() -> Iterator[list[Stub]]:
    """Three servers with one state, over http."""
    argo = Argo()
    with ExitStack() as stack:
        yield [stack.enter_context(argo_stub.stub(argo=argo)) for _ in range(3)]


@pytest.fixture
def tls_stub(authority: Authority) -> Iterator[Stub]:
    with argo_stub.stub(context=authority.server_context()) as running:
        yield running


@pytest.fixture
def ams(stub: Stub) -> Iterator[ArgoMessagingService]:
    with ArgoMessagingService(stub.url, token=TOKEN, project="P") as service:
        yield service


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The sleeps between attempts, which are noted instead of slept."""
    noted: list[float] = []
    monkeypatch.setattr("headrace.ams.requests.time.sleep", noted.append)
    return noted


@pytest.fixture
def seen(stub: Stub) -> Callable[[], list[str]]:
    """What was asked so far, as `METHOD path`, and forget it."""

    def take() -> list[str]:
        asked = [f"{one.method} {one.path}" for one in stub.seen]
        stub.seen.clear()
        return asked

    return take
