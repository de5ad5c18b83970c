import asyncio

import pytest

from headrace.transport import OpenFailed, Transport, realtime_url


async def opened(
    url: str, frames: list[bytes], *, subprotocol: str = "headrace.v1+json", timeout: float = 5
) -> Transport:
    return await Transport.open(
        url,
        subprotocol=subprotocol,
        headers=[("Authorization", "Bearer t")],
        tls=None,
        timeout=timeout,
        on_frames=frames.extend,
        on_writable=lambda: None,
    )


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ("http://a:1", "ws://a:1/v1/realtime"),
        ("https://a/below/", "wss://a/below/v1/realtime"),
        ("ws://[::1]:1", "ws://[::1]:1/v1/realtime"),
    ],
)
def test_the_url_of_a_server(server, url) -> None:
    assert realtime_url(server) == url


async def test_frames_that_come_with_the_handshake_wait_for_the_start(node, until) -> None:
    frames: list[bytes] = []
    transport = await opened(node.url, frames)
    await until(lambda: transport._early)
    assert frames == []
    transport.start()
    assert b"welcome" in frames[0]
    await transport.close()


async def test_many_frames_are_written_at_once_and_arrive_in_order(node, until) -> None:
    frames: list[bytes] = []
    transport = await opened(node.url, frames)
    transport.start()
    transport.send([b'{"op":"ping","id":%d}' % number for number in range(100)], binary=False)
    await until(lambda: len(node.received) == 100)
    assert [frame["id"] for frame in node.received] == list(range(100))
    await until(lambda: len(frames) == 101)
    await transport.close()
    transport.send([b"{}"], binary=False)


async def test_a_refusal_says_its_status(node) -> None:
    node.refuse_status = 503
    with pytest.raises(OpenFailed) as caught:
        await opened(node.url, [])
    assert (caught.value.status, caught.value.retry_after_s) == (503, 0.0)


async def test_another_subprotocol_is_no_connection(node) -> None:
    with pytest.raises(OpenFailed):
        await opened(node.url, [], subprotocol="chat")


async def test_nothing_listening_is_no_connection() -> None:
    with pytest.raises(OpenFailed):
        await opened("http://127.0.0.1:9", [])


async def test_a_server_that_says_nothing_is_no_connection() -> None:
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    with pytest.raises(OpenFailed, match="in time"):
        await opened(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", [], timeout=0.05)
    writers[0].close()
    server.close()


async def test_a_server_that_speaks_something_else_is_no_connection() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    with pytest.raises(OpenFailed):
        await opened(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", [])
    server.close()


async def test_the_close_code_is_told(node) -> None:
    transport = await opened(node.url, [])
    await node.close(4501, "expired")
    closed = await transport.closed
    assert (closed.code, closed.reason) == (4501, "expired")


async def test_a_broken_connection_has_no_code(node) -> None:
    transport = await opened(node.url, [])
    node.cut()
    assert (await transport.closed).code is None


async def test_fragments_are_put_together(node, until) -> None:
    frames: list[bytes] = []
    transport = await opened(node.url, frames)
    transport.start()
    await until(lambda: frames)
    (connection,) = node.connections()
    await connection.send(["a", "b", "c"])
    await connection.ping()
    await connection.send("d")
    await until(lambda: len(frames) == 3)
    assert frames[1:] == [b"abc", b"d"]
    transport.abort()


@pytest.mark.parametrize(
    ("header", "body", "seconds"),
    [
        ("7", {"error": {"retry_ms": 6100}}, 6.1),
        ("7", {"error": {}}, 7.0),
        ("7", {"error": {"retry_ms": True}}, 7.0),
        ("7", {"error": {"retry_ms": 1e99}}, 7.0),
        ("7", [], 7.0),
        ("soon", {}, 0.0),
    ],
)
async def test_a_refusal_says_when_to_come_back(node, header, body, seconds) -> None:
    node.refuse_status, node.retry_after, node.refusal = 503, header, body
    with pytest.raises(OpenFailed) as caught:
        await opened(node.url, [])
    assert caught.value.retry_after_s == seconds
