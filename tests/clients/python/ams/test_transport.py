"""Connections: kept, broken, too slow, shared by threads, inherited by a child."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path

import pytest
from argo_stub import TOKEN, Authority, Fault, Stub

from headrace.ams import transport
from headrace.ams.options import Tls
from headrace.ams.servers import parse_server
from headrace.ams.transport import HttpRequest, Pool, TransportFailure

STATUS = HttpRequest("GET", "/v1/status", {}, None, connect_s=5, read_s=5, tls=Tls(), repeatable=True)
ONCE = replace(STATUS, repeatable=False)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pool(clock: Clock) -> Iterator[Pool]:
    made = Pool(monotonic=clock)
    yield made
    made.close()


def connections(stub: Stub) -> list[int]:
    """Which connection each request came over."""
    return [one.connection for one in stub.seen]


def test_a_connection_is_kept_and_used_again(pool: Pool, stub: Stub) -> None:
    for _ in range(3):
        assert pool.exchange(parse_server(stub.url), STATUS).status == 200
    assert connections(stub) == [0, 0, 0]


def test_what_may_not_be_repeated_gets_a_fresh_connection(pool: Pool, stub: Stub) -> None:
    for request in (STATUS, ONCE, STATUS):
        pool.exchange(parse_server(stub.url), request)
    assert connections(stub) == [0, 1, 1]


def test_a_connection_that_was_idle_for_too_long_is_not_used_again(pool: Pool, stub: Stub, clock: Clock) -> None:
    pool.exchange(parse_server(stub.url), STATUS)
    clock.now += transport.MAX_IDLE_S
    pool.exchange(parse_server(stub.url), STATUS)
    clock.now += transport.MAX_IDLE_S + 1
    pool.exchange(parse_server(stub.url), STATUS)
    assert connections(stub) == [0, 0, 1]


def test_a_kept_connection_that_broke_is_replaced_unseen(pool: Pool, stub: Stub) -> None:
    pool.exchange(parse_server(stub.url), STATUS)
    stub.fail("/status", Fault(cut=True))
    assert pool.exchange(parse_server(stub.url), STATUS).status == 200
    assert connections(stub) == [0, 0, 1]


def test_a_fresh_connection_that_breaks_is_a_failure(pool: Pool, stub: Stub) -> None:
    stub.fail("/status", Fault(cut=True))
    with pytest.raises(TransportFailure) as failure:
        pool.exchange(parse_server(stub.url), STATUS)
    assert failure.value.sent
    assert isinstance(failure.value.cause, OSError)


def test_silence_is_a_timeout_and_is_not_tried_again(pool: Pool, stub: Stub) -> None:
    pool.exchange(parse_server(stub.url), STATUS)
    stub.fail("/status", Fault(hang_s=0.5))
    with pytest.raises(TransportFailure) as failure:
        pool.exchange(parse_server(stub.url), replace(STATUS, read_s=0.05))
    assert isinstance(failure.value.cause, TimeoutError)
    assert connections(stub) == [0, 0]


def test_nobody_there_means_that_nothing_was_sent(pool: Pool, stub: Stub) -> None:
    stub.close()
    with pytest.raises(TransportFailure) as failure:
        pool.exchange(parse_server(stub.url), STATUS)
    assert not failure.value.sent


def test_an_answer_that_is_too_large_is_a_failure(pool: Pool, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_ANSWER_BYTES", 100)
    stub.fail("/status", Fault(200, b"x" * 100))
    assert len(pool.exchange(parse_server(stub.url), STATUS).body) == 100
    stub.fail("/status", Fault(200, b"x" * 101), times=2)
    with pytest.raises(TransportFailure) as failure:
        pool.exchange(parse_server(stub.url), STATUS)
    assert isinstance(failure.value.cause, HTTPException)


def test_what_is_not_http_is_a_failure(pool: Pool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"220 mail.example.org ESMTP\r\n")

        speaker = threading.Thread(target=speak)
        speaker.start()
        with pytest.raises(TransportFailure) as failure:
            pool.exchange(parse_server(f"http://127.0.0.1:{listener.getsockname()[1]}"), STATUS)
        speaker.join(5)
    assert isinstance(failure.value.cause, HTTPException)


def test_threads_do_not_share_a_connection_at_a_time(pool: Pool, stub: Stub) -> None:
    server = parse_server(stub.url)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: pool.exchange(server, STATUS).body, range(200)))
    assert set(answers) == {b'{"status": "ok"}'}
    assert len(set(connections(stub))) <= 8


def test_only_so_many_connections_are_kept(pool: Pool, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_KEPT", 2)
    for _ in range(4):
        pool.exchange(parse_server(stub.url), ONCE)
    for _ in range(2):
        pool.exchange(parse_server(stub.url), STATUS)
    assert connections(stub) == [0, 1, 2, 3, 3, 3]
    assert sum(len(queue) for queue in pool._idle.values()) == 2


def test_a_child_does_not_speak_over_its_parents_connections(pool: Pool, stub: Stub) -> None:
    server = parse_server(stub.url)
    pool.exchange(server, STATUS)
    child = os.fork()
    if child == 0:
        # A fork among threads may hang; then it dies of this.
        signal.alarm(20)
        status = 1
        try:
            status = 0 if pool.exchange(server, STATUS).status == 200 else 1
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    pool.exchange(server, STATUS)
    assert connections(stub) == [0, 1, 0]


def test_a_closed_pool_opens_anew(pool: Pool, stub: Stub) -> None:
    pool.exchange(parse_server(stub.url), STATUS)
    pool.close()
    pool.exchange(parse_server(stub.url), STATUS)
    assert connections(stub) == [0, 1]


def test_a_certificate_is_checked_against_the_ca_that_was_named(
    pool: Pool, tls_stub: Stub, authority: Authority, tmp_path: Path
) -> None:
    server = parse_server(tls_stub.url)
    for tls in (Tls(str(authority.ca)), Tls("")):
        assert pool.exchange(server, replace(STATUS, tls=tls)).status == 200
    for tls in (Tls(), Tls(str(tmp_path / "missing.pem")), Tls(str(tmp_path))):
        with pytest.raises(TransportFailure) as failure:
            pool.exchange(server, replace(STATUS, tls=tls))
        assert isinstance(failure.value.cause, OSError)
        assert not failure.value.sent


def test_a_certificate_for_another_name_is_refused(pool: Pool, tls_stub: Stub, authority: Authority) -> None:
    server = parse_server(f"https://127.0.0.1:{tls_stub.port}")
    with pytest.raises(TransportFailure):
        pool.exchange(server, replace(STATUS, tls=Tls(str(authority.ca))))


def test_connections_of_different_trust_are_not_mixed(pool: Pool, tls_stub: Stub, authority: Authority) -> None:
    server = parse_server(tls_stub.url)
    pool.exchange(server, replace(STATUS, tls=Tls("")))
    pool.exchange(server, replace(STATUS, tls=Tls(str(authority.ca))))
    assert connections(tls_stub) == [0, 1]


def test_a_client_certificate_is_read_anew_for_each_connection(
    pool: Pool, tls_stub: Stub, authority: Authority, tmp_path: Path
) -> None:
    mine = tmp_path / "proxy.pem"
    mine.write_bytes(authority.cert.read_bytes() + authority.key.read_bytes())
    request = replace(ONCE, tls=Tls(str(authority.ca), (str(mine), None)))
    assert pool.exchange(parse_server(tls_stub.url), request).status == 200
    mine.unlink()
    with pytest.raises(TransportFailure):
        pool.exchange(parse_server(tls_stub.url), request)


def test_a_request_shows_no_header_in_its_repr() -> None:
    assert TOKEN not in repr(replace(STATUS, headers={"x-api-key": TOKEN}))
