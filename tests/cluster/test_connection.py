"""The pipelined connection: order, cancellation, loss, silence, bounds."""

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import servers
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from broker.errors import Unavailable, UnknownOutcome
from cluster import connection as module
from cluster.address import Access, Endpoint, parse_address
from cluster.connection import Connection, ErrorReply, open_connection

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]


@asynccontextmanager
async def opened(server: servers.Server, **options: float) -> AsyncIterator[Connection]:
    made = await open_connection(Endpoint(server.host, server.port), Access(), name="test", **options)
    try:
        yield made
    finally:
        made.close()


async def test_replies_come_in_the_order_of_the_commands(valkey: servers.Server) -> None:
    async with opened(valkey) as connection:
        replies = await asyncio.gather(*[connection.call("ECHO", str(number)) for number in range(1000)])
    assert replies == [str(number).encode() for number in range(1000)]


async def test_commands_of_one_loop_turn_leave_in_one_write(valkey: servers.Server) -> None:
    async with opened(valkey) as connection:
        written: list[bytes] = []
        transport = connection._transport
        assert transport is not None

        class Spy:
            def write(self, data: bytes) -> None:
                written.append(data)
                transport.write(data)

            abort = transport.abort

        connection._transport = Spy()  # type: ignore[assignment]
        await asyncio.gather(connection.call("PING"), connection.call("ECHO", b"\x00\xff"), connection.call("PING"))
    assert len(written) == 1


async def test_an_error_reply_has_its_code(valkey: servers.Server) -> None:
    async with opened(valkey) as connection:
        await connection.call("SET", "connection:text", "x")
        with pytest.raises(ErrorReply) as caught:
            await connection.call("INCR", "connection:text")
        assert caught.value.code == "ERR"
        assert await connection.call("ECHO", "after") == b"after"


async def test_a_cancelled_waiter_does_not_shift_replies(valkey: servers.Server) -> None:
    """CVE-2023-28858: the reply of a cancelled command went to the next caller."""
    async with opened(valkey) as connection:
        for number in range(50):
            waiting = asyncio.ensure_future(connection.call("ECHO", f"secret {number}"))
            for _ in range(number % 4):
                await asyncio.sleep(0)
            waiting.cancel()
            assert await connection.call("ECHO", f"mine {number}") == f"mine {number}".encode()
            await asyncio.gather(waiting, return_exceptions=True)


async def test_a_cancelled_waiter_of_a_stopped_server_does_not_shift_replies() -> None:
    with servers.valkey() as server:
        async with opened(server) as connection:
            server.pause()
            first = asyncio.ensure_future(connection.call("ECHO", "first"))
            second = asyncio.ensure_future(connection.call("ECHO", "second"))
            await asyncio.sleep(0.02)
            first.cancel()
            server.resume()
            assert await second == b"second"
            assert first.cancelled()


async def test_a_command_without_reply_has_an_unknown_outcome() -> None:
    with servers.valkey() as server:
        async with opened(server) as connection:
            server.pause()
            waiting = asyncio.ensure_future(connection.call("INCR", "n"))
            await asyncio.sleep(0.02)
            server.kill()
            with pytest.raises(UnknownOutcome):
                await waiting
            assert not connection.is_open
            with pytest.raises(Unavailable):
                connection.send("PING")


async def test_a_command_that_was_never_written_is_unavailable() -> None:
    with servers.valkey() as server:
        async with opened(server) as connection:
            connection.pause_writing()
            waiting = asyncio.ensure_future(connection.call("INCR", "n"))
            await asyncio.sleep(0)
            server.kill()
            with pytest.raises(Unavailable):
                await waiting


async def test_writing_goes_on_when_the_transport_has_room_again(valkey: servers.Server) -> None:
    async with opened(valkey) as connection:
        connection.pause_writing()
        waiting = asyncio.ensure_future(connection.call("ECHO", "late"))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        connection.resume_writing()
        assert await waiting == b"late"


async def test_a_stopped_server_is_noticed_by_its_silence() -> None:
    with servers.valkey() as server:
        async with opened(server, reply_seconds=0.3) as connection:
            server.pause()
            with pytest.raises(UnknownOutcome):
                await connection.call("INCR", "n")
            await connection.closed.wait()
            assert connection.reason == "no reply in time"


async def test_a_stopped_server_is_noticed_by_an_idle_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.1)
    with servers.valkey() as server:
        async with opened(server, reply_seconds=0.3) as connection:
            server.pause()
            await asyncio.wait_for(connection.closed.wait(), 10)
            assert connection.reason == "no reply in time"


async def test_a_loop_that_was_held_up_blames_nobody(valkey: servers.Server) -> None:
    async with opened(valkey, reply_seconds=0.2) as connection:
        waiting = connection.send("ECHO", "here all along")
        await asyncio.sleep(0)
        overdue = connection._waiters[0]
        connection._waiters[0] = (*overdue[:2], 0.0)
        connection._on_tick()
        assert connection.is_open
        assert await waiting == b"here all along"


async def test_a_killed_server_closes_the_connection() -> None:
    with servers.redis7() as server:
        async with opened(server) as connection:
            server.kill()
            await asyncio.wait_for(connection.closed.wait(), 10)
            assert connection.reason


async def test_too_many_unanswered_commands_are_refused(
    valkey: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_COMMANDS", 3)
    async with opened(valkey) as connection:
        sent = [connection.send("PING") for _ in range(3)]
        with pytest.raises(Unavailable) as caught:
            connection.send("PING")
        assert caught.value.retry_ms
        assert await asyncio.gather(*sent) == [b"PONG"] * 3
        assert await connection.call("PING") == b"PONG"


async def test_too_many_unanswered_bytes_are_refused_but_one_large_command_passes(
    valkey: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    async with opened(valkey) as connection:
        large = connection.send("ECHO", "x" * 1000)
        with pytest.raises(Unavailable):
            connection.send("PING")
        assert await large == b"x" * 1000
        assert await asyncio.gather(connection.call("PING"), connection.call("PING")) == [b"PONG"] * 2
        assert connection.is_idle


async def test_a_subscriber_gets_everything_of_one_read(valkey: servers.Server, eventually: Eventually) -> None:
    async with opened(valkey) as connection:
        heard: list[object] = []
        connection.listen(heard.extend)
        connection.post("SUBSCRIBE", "connection:news")
        await eventually(lambda: len(heard) == 1)
        valkey.client.publish("connection:news", "hello")
        await eventually(lambda: len(heard) == 2)
        assert heard[1] == [b"message", b"connection:news", b"hello"]


async def test_the_handshake_logs_in_selects_and_names() -> None:
    with servers.redis7("--requirepass", "s3cret") as server:
        endpoint = Endpoint(server.host, server.port)
        made = await open_connection(endpoint, Access(password="s3cret", database=2), name="node-1")
        await made.call("SET", "here", 1)
        described = await made.call("CLIENT", "LIST")
        assert isinstance(described, bytes) and b"name=node-1" in described and b"db=2" in described
        made.close()


@pytest.mark.parametrize("password", ["", "wr0ng"])
async def test_refused_credentials_are_unavailable_and_stay_secret(password: str) -> None:
    with servers.redis7("--requirepass", "s3cret") as server:
        with pytest.raises(Unavailable) as caught:
            await open_connection(Endpoint(server.host, server.port), Access(password=password), name="test")
        assert "refused" in str(caught.value)
        assert "wr0ng" not in str(caught.value)


async def test_nobody_there_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await open_connection(Endpoint("127.0.0.1", servers.free_port()), Access(), name="test")


async def test_a_stopped_server_cannot_hold_the_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.2)
    with servers.valkey() as server:
        server.pause()
        with pytest.raises(Unavailable):
            await open_connection(Endpoint(server.host, server.port), Access(), name="test")


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with servers.valkey("--unixsocket", path):
        made = await open_connection(Endpoint(path=path), Access(), name="test")
        assert await made.call("PING") == b"PONG"
        made.close()


async def test_a_stranger_that_speaks_no_redis_is_unavailable() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable):
            await open_connection(Endpoint("127.0.0.1", port), Access(), name="test")


async def test_tls_checks_the_certificate(tmp_path: Path) -> None:
    _write_certificate(tmp_path)
    certificate, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    port = servers.free_port()
    options = ["--tls-port", str(port), "--tls-cert-file", certificate, "--tls-key-file", key]
    with servers.redis7(*options, "--tls-ca-cert-file", certificate, "--tls-auth-clients", "no"):
        address = parse_address(f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}")
        made = await open_connection(address.seeds[0], address.access, name="test")
        assert await made.call("PING") == b"PONG"
        made.close()
        distrustful = Access(tls=ssl.create_default_context())
        with pytest.raises(Unavailable):
            await open_connection(address.seeds[0], distrustful, name="test")


def _write_certificate(directory: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (directory / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
