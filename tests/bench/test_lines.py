"""Lines against a server in this process that answers in pieces, refuses and hangs up."""

import asyncio

import pytest

from bench.lines import Refused, connect_lines


async def serve(answers: list[list[bytes]]) -> asyncio.Server:
    """Answer each request with the next of `answers`, written piece by piece; hang up when there is none left."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000) and answers:
            for piece in answers.pop(0):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.001)
        writer.close()

    return await asyncio.start_server(handle, "127.0.0.1", 0)


def url_of(server: asyncio.Server) -> str:
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_answers_come_whole_however_they_are_cut() -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    pieces = [bytes([byte]) for byte in whole]
    server = await serve([[whole], pieces, [b"HTTP/1.1 200 OK\r\n\r\n"], [whole[:45], whole[45:]]])
    async with server, connect_lines(url_of(server), 1) as (line,):
        assert [await line.ask(b"x") for _ in range(4)] == [b"hello", b"hello", b"", b"hello"]


async def test_a_refusal_and_a_closed_connection_are_told() -> None:
    server = await serve([[b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone"]])
    async with server, connect_lines(url_of(server), 1) as (line,):
        with pytest.raises(Refused, match="404 Not Found: none"):
            await line.ask(b"x")
        with pytest.raises(ConnectionError):
            await line.ask(b"x")
