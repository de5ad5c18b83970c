"""An HTTP(S) server on loopback that answers as it is told and remembers what it was sent."""

import asyncio
import datetime
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True)
class Received:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


def answering(status: int, body: bytes = b"", *headers: str) -> Answer:
    """Return an answer with a length."""
    lines = "".join(f"{line}\r\n" for line in headers)
    response = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode() + body

    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(response)
        await writer.drain()

    return answer


async def hanging(request: Received, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def hanging_up(request: Received, writer: asyncio.StreamWriter) -> None:
    writer.close()


@dataclass
class Receiver:
    answer: Answer = field(default_factory=lambda: answering(200))
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    server_name: str | None = None
    """What the last TLS client named (SNI)."""
    port: int = 0
    _peers: set["asyncio.Task[None]"] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._peers.add(task)
        try:
            while True:
                request = await _read(reader)
                self.received.append(request)
                await self.answer(request, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._peers.discard(task)
            with suppress(OSError):
                writer.close()

    def hang_up(self) -> None:
        for peer in self._peers:
            peer.cancel()


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    method, target, _ = first.split(" ")
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, target, headers, body)


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None, *, port: int = 0) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    if tls is not None:

        def named(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
            receiver.server_name = name

        tls.sni_callback = named
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        receiver.hang_up()


def make_authority(folder: Path, *names: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return (a server's TLS with a certificate for `names`, a client's that trusts it)."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "receiver")])
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "receiver.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + secret)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=str(file))
