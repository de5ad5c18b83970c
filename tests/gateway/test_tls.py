"""TLS in front of a real listener: https and wss, and certificates that change under way."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway import tls as module
from gateway.authority import Authority, Pair
from gateway.tls import CertificateError, Tls

SECONDS = 10


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def placed(authority: Authority, name: str, target: Path) -> Pair:
    """Issue a certificate for `name` and put it where a node looks."""
    issued = authority.issue(name)
    target.mkdir(exist_ok=True)
    pair = Pair(target / "node.pem", target / "node-key.pem")
    pair.certificate.write_bytes(issued.certificate.read_bytes())
    pair.key.write_bytes(issued.key.read_bytes())
    return pair


@asynccontextmanager
async def listening(tls: Tls) -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls.context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def name_of(authority: Authority, port: int, *, version: ssl.TLSVersion | None = None, sni: bool = True) -> str:
    """Shake hands, and return whom the certificate names."""
    context = ssl.create_default_context(cafile=str(authority.files.certificate))
    if version:
        context.maximum_version = version
    host = "localhost" if sni else "127.0.0.1"
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=host)
        writer.write(b"hello\n")
        assert await reader.readline() == b"hello\n"
    certificate = writer.get_extra_info("peercert")
    writer.close()
    return dict(pair for part in certificate["subject"] for pair in part)["commonName"]


async def test_new_handshakes_get_the_changed_certificate(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    pair = placed(authority, "first", tmp_path)
    tls = Tls(pair.certificate, pair.key)
    watching = asyncio.create_task(tls.serve())
    async with listening(tls) as port:
        assert await name_of(authority, port) == "first"
        assert await name_of(authority, port, sni=False) == "first"
        placed(authority, "second", tmp_path)
        async with asyncio.timeout(SECONDS):
            while await name_of(authority, port) != "second":
                await asyncio.sleep(0.01)
        assert await name_of(authority, port, sni=False) == "second"
        assert await name_of(authority, port, version=ssl.TLSVersion.TLSv1_2) == "second"
    watching.cancel()


async def test_a_pair_that_does_not_fit_changes_nothing(authority: Authority, tmp_path: Path) -> None:
    pair = placed(authority, "good", tmp_path)
    tls = Tls(pair.certificate, pair.key)
    async with listening(tls) as port:
        pair.certificate.write_bytes(authority.issue("other").certificate.read_bytes())
        assert not tls.reload()
        assert await name_of(authority, port) == "good"
        pair.key.unlink()
        assert not tls.reload()
        assert await name_of(authority, port) == "good"
        placed(authority, "better", tmp_path)
        assert tls.reload()
        assert await name_of(authority, port) == "better"


async def test_other_files_may_be_named_under_way(authority: Authority, tmp_path: Path) -> None:
    first, second = placed(authority, "first", tmp_path / "a"), placed(authority, "second", tmp_path / "b")
    tls = Tls(first.certificate, first.key)
    async with listening(tls) as port:
        assert tls.use(second.certificate, second.key)
        assert await name_of(authority, port) == "second"
        assert not tls.use(first.certificate, second.key)
        assert await name_of(authority, port) == "second"


async def test_a_connection_that_stands_is_not_touched(authority: Authority, tmp_path: Path) -> None:
    pair = placed(authority, "first", tmp_path)
    tls = Tls(pair.certificate, pair.key)
    context = ssl.create_default_context(cafile=str(authority.files.certificate))
    async with listening(tls) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        placed(authority, "second", tmp_path)
        assert tls.reload()
        writer.write(b"still here\n")
        assert await reader.readline() == b"still here\n"
        writer.close()


async def test_old_protocols_are_refused(authority: Authority, tmp_path: Path) -> None:
    pair = placed(authority, "node", tmp_path)
    context = ssl.create_default_context(cafile=str(authority.files.certificate))
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with listening(Tls(pair.certificate, pair.key)) as port:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")


def test_what_cannot_be_used_is_said_without_its_contents(authority: Authority, tmp_path: Path) -> None:
    pair, other = authority.issue("one"), authority.issue("two")
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("secret rubbish")
    for certificate, key in ((pair.certificate, other.key), (rubbish, pair.key), (pair.certificate, rubbish)):
        with pytest.raises(CertificateError, match="no usable pair") as caught:
            Tls(certificate, key)
        assert "secret" not in str(caught.value)
    with pytest.raises(CertificateError, match="No such file"):
        Tls(tmp_path / "missing.pem", pair.key)


def test_a_key_with_a_passphrase_is_refused_without_asking(authority: Authority, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    pair, locked = authority.issue("one"), tmp_path / "locked.pem"
    key = serialization.load_pem_private_key(pair.key.read_bytes(), password=None)
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
    )
    with pytest.raises(CertificateError, match="passphrase"):
        Tls(pair.certificate, locked)
