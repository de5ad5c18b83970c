"""RFC 6455 as our own class keeps it: a table of what is sent and what comes back.

The rows of a message end in an answered request, those of a breach in a close code. Each is sent at once, and byte by
byte.
"""

import asyncio
from typing import Any

import orjson
import pytest
from sockets import ACCEPT, BINARY, CLOSE, PING, PONG, TEXT, frame, packed, text, upgrade

FIN = 0x80
PING_REQUEST = orjson.dumps({"op": "ping", "id": "ä€𝄞"})
ANSWER = {"op": "pong", "id": "ä€𝄞"}


def fragments(payload: bytes, *sizes: int, between: bytes = b"") -> bytes:
    """Cut `payload` into fragments of `sizes` and a last one, with `between` after each but the last."""
    out, at = b"", 0
    for index, size in enumerate(sizes):
        out += frame(TEXT if index == 0 else 0, payload[at : at + size]) + between
        at += size
    return out + frame(FIN, payload[at:])


async def send(client: Any, data: bytes, *, slowly: bool) -> None:
    if not slowly:
        client.send(data)
        return
    for at in range(len(data)):
        client.send(data[at : at + 1])
        await client.writer.drain()
        await asyncio.sleep(0)


slowly = pytest.mark.parametrize("slowly", [False, True], ids=["at once", "byte by byte"])

MESSAGES = {
    "one frame": frame(FIN | TEXT, PING_REQUEST),
    "two fragments": fragments(PING_REQUEST, 5),
    "fragments that cut characters": fragments(PING_REQUEST, *([1] * (len(PING_REQUEST) - 1))),
    "an empty first fragment": fragments(PING_REQUEST, 0),
    "an empty last fragment": fragments(PING_REQUEST, len(PING_REQUEST)),
    "empty fragments in between": fragments(PING_REQUEST, 3, 0, 0, 4),
    "an unasked pong before": frame(FIN | PONG, b"hello") + frame(FIN | TEXT, PING_REQUEST),
    "an unasked pong between fragments": fragments(PING_REQUEST, 5, 6, between=frame(FIN | PONG)),
    "a 16 bit length": frame(FIN | TEXT, PING_REQUEST + b" " * 200),
    "a 64 bit length": frame(FIN | TEXT, PING_REQUEST + b" " * 66_000),
}


@pytest.mark.parametrize("name", MESSAGES)
async def test_a_message_is_read(node: Any, name: str) -> None:
    async with node.client() as client:
        client.send(MESSAGES[name])
        assert await client.receive() == ANSWER


@pytest.mark.parametrize("name", [name for name in MESSAGES if "64 bit" not in name])
async def test_a_message_is_read_byte_by_byte(node: Any, name: str) -> None:
    async with node.client() as client:
        await send(client, MESSAGES[name], slowly=True)
        assert await client.receive() == ANSWER


async def test_messages_in_one_read_are_answered_in_order(node: Any) -> None:
    async with node.client() as client:
        client.send(b"".join(text({"op": "ping", "id": n}) for n in range(100)) + fragments(PING_REQUEST, 7))
        assert [(await client.receive())["id"] for _ in range(101)] == [*range(100), "ä€𝄞"]


@slowly
async def test_a_ping_is_answered_with_its_payload(node: Any, slowly: bool) -> None:
    async with node.client() as client:
        await send(client, frame(FIN | PING, b"\x00\xff are you there"), slowly=slowly)
        assert await client.frame() == (FIN | PONG, b"\x00\xff are you there")


@pytest.mark.parametrize("size", [0, 1, 125])
async def test_a_ping_may_be_empty_or_full(node: Any, size: int) -> None:
    async with node.client() as client:
        client.send(frame(FIN | PING, b"p" * size))
        assert await client.frame() == (FIN | PONG, b"p" * size)


async def test_a_ping_between_fragments_is_answered_at_once(node: Any) -> None:
    async with node.client() as client:
        client.send(frame(TEXT, PING_REQUEST[:5]) + frame(FIN | PING, b"now"))
        assert await client.frame() == (FIN | PONG, b"now")
        client.send(frame(FIN, PING_REQUEST[5:]))
        assert await client.receive() == ANSWER


BREACHES = {
    "the first reserved bit": (frame(FIN | 0x40 | TEXT, PING_REQUEST), 1002),
    "the second reserved bit": (frame(FIN | 0x20 | TEXT, PING_REQUEST), 1002),
    "the third reserved bit": (frame(FIN | 0x10 | TEXT, PING_REQUEST), 1002),
    "a reserved bit on a ping": (frame(FIN | 0x40 | PING), 1002),
    **{f"the reserved opcode {op:#x}": (frame(FIN | op), 1002) for op in (3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF)},
    "an unmasked message": (frame(FIN | TEXT, PING_REQUEST, masked=False), 1002),
    "an unmasked ping": (frame(FIN | PING, masked=False), 1002),
    "an oversized ping": (frame(FIN | PING, b"p" * 126), 1002),
    "an oversized close": (frame(FIN | CLOSE, b"\x03\xe8" + b"r" * 124), 1002),
    "a fragmented ping": (frame(PING, b"p"), 1002),
    "a fragmented close": (frame(CLOSE, b"\x03\xe8"), 1002),
    "a continuation of nothing": (frame(FIN, b"x"), 1002),
    "an unfinished continuation of nothing": (frame(0, b"x"), 1002),
    "a message inside a message": (frame(TEXT, b"{") + frame(FIN | TEXT, b"}"), 1002),
    "a continuation after the end": (frame(TEXT, b"") + frame(FIN, b"1") * 2, 1002),
    "text that is not UTF-8": (frame(FIN | TEXT, b'"\xff"'), 1007),
    "text that ends within a character": (frame(FIN | TEXT, b'"\xc3'), 1007),
    "a surrogate in UTF-8": (frame(FIN | TEXT, b"\xed\xa0\x80"), 1007),
    "an overlong encoding": (frame(FIN | TEXT, b"\xc0\xaf"), 1007),
    "fragments that are not UTF-8": (frame(TEXT, b'"\xc3') + frame(FIN, b'("'), 1007),
    "fragments that end within a character": (frame(TEXT, b'"\xe2\x82') + frame(FIN, b""), 1007),
    "a bad fragment, seen before the message ends": (frame(TEXT, b"\xff"), 1007),
    "a binary frame where text is spoken": (frame(FIN | BINARY, PING_REQUEST), 1003),
    "binary fragments where text is spoken": (frame(BINARY, PING_REQUEST[:5]) + frame(FIN, PING_REQUEST[5:]), 1003),
    "a close of one byte": (frame(FIN | CLOSE, b"\x03"), 1002),
    "a close whose reason is not UTF-8": (frame(FIN | CLOSE, b"\x03\xe8\xff"), 1007),
    **{
        f"the close code {code}": (frame(FIN | CLOSE, code.to_bytes(2)), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535)
    },
}


@slowly
@pytest.mark.parametrize("name", BREACHES)
async def test_a_breach_closes(node: Any, name: str, slowly: bool) -> None:
    sent, code = BREACHES[name]
    async with node.client() as client:
        await send(client, sent, slowly=slowly)
        assert await client.closed() == code
        assert await client.at_end()


@pytest.mark.parametrize("name", [name for name in BREACHES if BREACHES[name][1] != 1003])
async def test_nothing_behind_a_breach_is_handled(node: Any, name: str) -> None:
    async with node.client() as client:
        client.send(BREACHES[name][0] + text({"op": "publish", "topic": "a/b", "text": "smuggled"}))
        await client.closed()
    assert node.publisher.requests == []


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999])
async def test_a_close_is_echoed(node: Any, code: int) -> None:
    async with node.client() as client:
        client.send(frame(FIN | CLOSE, code.to_bytes(2) + "schöner Grund".encode()))
        assert await client.closed() == code
        assert await client.at_end()


async def test_a_close_without_a_code_is_echoed(node: Any) -> None:
    async with node.client() as client:
        client.send(frame(FIN | CLOSE))
        assert await client.closed() == 1005


@slowly
async def test_a_close_amid_the_fragments_of_a_message_is_echoed(node: Any, slowly: bool) -> None:
    async with node.client() as client:
        await send(client, frame(TEXT, b"{") + frame(FIN | CLOSE, b"\x03\xe8"), slowly=slowly)
        assert await client.closed() == 1000


async def test_what_was_asked_before_a_close_is_answered_before_it(node: Any) -> None:
    async with node.client() as client:
        client.send(text({"op": "ping", "id": 1}) + frame(FIN | CLOSE, b"\x03\xe8"))
        assert await client.receive() == {"op": "pong", "id": 1}
        assert await client.closed() == 1000


async def test_nothing_after_a_close_is_handled(node: Any) -> None:
    async with node.client() as client:
        client.send(frame(FIN | CLOSE, b"\x03\xe8") + text({"op": "publish", "topic": "a/b", "text": "late"}))
        assert await client.closed() == 1000
        assert await client.at_end()
    assert node.publisher.requests == []


async def test_an_end_without_a_close_frame_is_an_end(node: Any, eventually: Any) -> None:
    async with node.client() as client:
        client.send(frame(TEXT, b"{"))
        client.writer.close()
        await eventually(lambda: not node.front.node.sockets)


async def test_a_message_too_big_is_refused_by_its_header(endpoint: Any) -> None:
    async with endpoint(frame_bytes=1000) as node, node.client() as client:
        client.send(frame(FIN | TEXT, b" " * 1001)[:8])
        assert await client.closed() == 1009


async def test_a_message_of_the_greatest_size_is_read(endpoint: Any) -> None:
    async with endpoint(frame_bytes=1000) as node, node.client() as client:
        client.send(frame(FIN | TEXT, PING_REQUEST.ljust(1000)))
        assert await client.receive() == ANSWER


async def test_fragments_too_big_together_are_refused(endpoint: Any) -> None:
    async with endpoint(frame_bytes=1000) as node, node.client() as client:
        client.send(frame(TEXT, b" " * 600) + frame(FIN, b" " * 401))
        assert await client.closed() == 1009


async def test_a_length_beyond_63_bits_is_refused(node: Any) -> None:
    async with node.client() as client:
        client.send(b"\x81\xff" + b"\xff" * 8)
        assert await client.closed() == 1009


async def test_text_on_the_binary_subprotocol_is_refused(node: Any) -> None:
    async with node.raw() as client:
        await client.shake(upgrade(sec_websocket_protocol="headrace.v1+msgpack"))
        assert (await client.receive())["op"] == "welcome"
        client.send(packed({"op": "ping", "id": 1}))
        assert await client.receive() == {"op": "pong", "id": 1}
        client.send(text({"op": "ping"}))
        assert await client.closed() == 1003


HANDSHAKES = {
    "as in the RFC": ({}, 101),
    "upgrade in capitals": ({"upgrade": "WebSocket"}, 101),
    "connection with more words": ({"connection": "keep-alive, Upgrade"}, 101),
    "another version": ({"sec_websocket_version": "8"}, 426),
    "no version": ({"sec_websocket_version": None}, 400),
    "no key": ({"sec_websocket_key": None}, 400),
    "a key too short": ({"sec_websocket_key": "c2hvcnQ="}, 400),
    "a key that is not base64": ({"sec_websocket_key": "not base64 at all !!!!!!"}, 400),
    "extensions are not taken": ({"sec_websocket_extensions": "permessage-deflate"}, 101),
}


@pytest.mark.parametrize("name", HANDSHAKES)
async def test_a_handshake(node: Any, name: str) -> None:
    headers, status = HANDSHAKES[name]
    async with node.raw() as client:
        answer = await client.shake(upgrade(**headers))
        assert answer.status == status
        if status == 101:
            assert answer.headers["sec-websocket-accept"] == ACCEPT
            assert answer.headers["upgrade"] == "websocket"
            assert "sec-websocket-extensions" not in answer.headers
            assert (await client.receive())["op"] == "welcome"
        else:
            assert answer.code == "invalid_request"
            assert await client.at_end()
        if status == 426:
            assert answer.headers["sec-websocket-version"] == "13"


async def test_a_handshake_byte_by_byte(node: Any) -> None:
    async with node.raw() as client:
        await send(client, upgrade()[:-1], slowly=True)
        assert (await client.shake(upgrade()[-1:])).status == 101
