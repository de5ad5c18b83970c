"""Tokens for client certificates, over real TLS with certificates of an authority made for it."""

import asyncio
import datetime
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from http_node import eventually

from broker.accounts import Accounts
from broker.store.records_memory import MemoryRecords
from broker.users import UserChange
from gateway import x509 as module
from gateway.authority import Authority, Pair
from gateway.options import Secret
from gateway.tls import CertificateError
from gateway.vault import Vault
from gateway.x509 import CertificateFiles, TokenService, read_bindings, subject_of

SECONDS = 10
PATH = "/v1/service-types/ams/hosts/ams.test:authx509"


def name(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value, _validate=False) for oid, value in attributes])


SUBJECTS = [
    (name((NameOID.COMMON_NAME, "alice")), "CN=alice"),
    (
        name((NameOID.COUNTRY_NAME, "GR"), (NameOID.ORGANIZATION_NAME, "Org"), (NameOID.COMMON_NAME, "alice")),
        "CN=alice,O=Org,C=GR",
    ),
    (
        name((NameOID.COMMON_NAME, "alice"), (NameOID.ORGANIZATION_NAME, "Org"), (NameOID.COUNTRY_NAME, "GR")),
        "CN=alice,O=Org,C=GR",
    ),
    (
        name(
            (NameOID.DOMAIN_COMPONENT, "argo"),
            (NameOID.DOMAIN_COMPONENT, "gr"),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, "a"),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, "b"),
            (NameOID.COMMON_NAME, "x"),
            (NameOID.EMAIL_ADDRESS, "a@b.gr"),
        ),
        "E=a@b.gr,CN=x,OU=a+OU=b,DC=argo+DC=gr",
    ),
    (
        name(
            (NameOID.LOCALITY_NAME, "l"),
            (NameOID.STATE_OR_PROVINCE_NAME, "s"),
            (NameOID.SERIAL_NUMBER, "1"),
            (NameOID.COMMON_NAME, "x"),
        ),
        "SERIALNUMBER=1,CN=x,ST=s,L=l",
    ),
    (name((NameOID.COMMON_NAME, "a"), (NameOID.COMMON_NAME, "b")), "CN=b"),
    (name((NameOID.COMMON_NAME, 'a,O=b+c"\\<>;')), 'CN=a\\,O=b\\+c\\"\\\\\\<\\>\\;'),
    (name((NameOID.COMMON_NAME, "#a ")), "CN=\\#a\\ "),
    (name((NameOID.EMAIL_ADDRESS, "a,CN=admin"), (NameOID.COMMON_NAME, "x")), "E=a\\,CN=admin,CN=x"),
    (name(), ""),
]


@pytest.mark.parametrize(("subject", "text"), SUBJECTS)
def test_a_subject_is_written_as_argo_writes_it(subject: x509.Name, text: str) -> None:
    assert subject_of(subject) == text


class Scene:
    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory / "ca")
        node = self.authority.issue("node")
        self.bindings = directory / "bindings.toml"
        self.bindings.write_text('"CN=alice" = "alice"\n"CN=ghost" = "nobody"\n')
        self.files = CertificateFiles(
            certificate=node.certificate, key=node.key, authorities=self.authority.files.certificate
        )
        self.accounts = Accounts(
            MemoryRecords(now_ms=lambda: 0), Vault(Secret("a secret key")), require_project=self._any_project
        )
        self.hosts: tuple[str, ...] = ("ams.test",)

    async def _any_project(self, project: object) -> None: ...

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[TokenService]:
        service = TokenService(
            self.accounts, self.files, bindings=self.bindings, hosts=self.hosts, host="127.0.0.1", port=0
        )
        task = asyncio.create_task(service.serve())
        await eventually(lambda: service.port or task.done())
        try:
            yield service
        finally:
            task.cancel()
            await asyncio.wait([task])

    def client(self, pair: Pair | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority.files.certificate))
        if pair is not None:
            context.load_cert_chain(pair.certificate, pair.key)
        return context

    async def ask(
        self, service: TokenService, pair: Pair | None, path: str = PATH, method: str = "GET"
    ) -> tuple[int, dict[str, object]]:
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", service.port, ssl=self.client(pair), server_hostname="localhost"
            )
            try:
                writer.write(f"{method} {path} HTTP/1.1\r\nHost: ams.test\r\n\r\n".encode())
                answer = await reader.read()
            finally:
                writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"Content-Length: %d" % len(body) in head
        return int(head.split(b" ")[1]), json.loads(body)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def refused(answer: tuple[int, dict[str, object]], status: int, word: str, message: str) -> None:
    assert answer == (status, {"error": {"code": status, "message": message, "status": word}})


async def test_a_bound_subject_gets_its_users_token(scene: Scene) -> None:
    user = await scene.accounts.create("alice", UserChange())
    alice = scene.authority.issue("alice")
    async with scene.serving() as service:
        assert await scene.ask(service, alice) == (200, {"token": scene.accounts.token_of(user)})
        scene.bindings.write_text("")
        refused(await scene.ask(service, alice), 404, "NOT FOUND", "Binding was not found")


async def test_who_gets_none(scene: Scene) -> None:
    await scene.accounts.create("alice", UserChange())
    alice = scene.authority.issue("alice")
    async with scene.serving() as service:
        refused(await scene.ask(service, None), 400, "BAD REQUEST", "No certificate provided")
        for stranger in ("bob", "ghost"):
            answer = await scene.ask(service, scene.authority.issue(stranger))
            refused(answer, 404, "NOT FOUND", "Binding was not found")
        other = PATH.replace("ams.test", "other.test")
        refused(await scene.ask(service, alice, other), 404, "NOT FOUND", "Host was not found")
        webapi = PATH.replace("/ams/", "/web-api/")
        refused(await scene.ask(service, alice, webapi), 404, "NOT FOUND", "Service-type was not found")
        refused(await scene.ask(service, alice, "/"), 404, "NOT FOUND", "404 page not found")
        refused(await scene.ask(service, alice, method="POST"), 405, "METHOD NOT ALLOWED", "405 method not allowed")


async def test_without_hosts_any_will_do(scene: Scene) -> None:
    scene.hosts = ()
    await scene.accounts.create("alice", UserChange())
    async with scene.serving() as service:
        status, _ = await scene.ask(service, scene.authority.issue("alice"), PATH.replace("ams.test", "x"))
        assert status == 200


async def test_certificates_that_do_not_get_through_the_handshake(scene: Scene, tmp_path: Path) -> None:
    await scene.accounts.create("alice", UserChange())
    foreign = Authority(tmp_path / "foreign").issue("alice")
    expired = scene.authority.issue("alice", lifetime=datetime.timedelta(minutes=-1))
    async with scene.serving() as service:
        for pair in (foreign, expired):
            with pytest.raises((OSError, ValueError, IndexError, AssertionError)):
                await scene.ask(service, pair)
        assert (await scene.ask(service, scene.authority.issue("alice")))[0] == 200


def revoking(scene: Scene, pair: Pair, path: Path) -> Path:
    """Write a revocation list that names the pair's certificate."""
    issuer = x509.load_pem_x509_certificate(scene.authority.files.certificate.read_bytes())
    key = serialization.load_pem_private_key(scene.authority.files.key.read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    now = datetime.datetime.now(datetime.UTC)
    serial = x509.load_pem_x509_certificate(pair.certificate.read_bytes()).serial_number
    entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
    revoked = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(now - datetime.timedelta(hours=1))
        .next_update(now + datetime.timedelta(hours=1))
        .add_revoked_certificate(entry)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(revoked.public_bytes(serialization.Encoding.PEM))
    return path


async def test_a_revoked_certificate_does_not_either(scene: Scene, tmp_path: Path) -> None:
    await scene.accounts.create("alice", UserChange())
    lost = scene.authority.issue("alice")
    scene.files = CertificateFiles(
        certificate=scene.files.certificate,
        key=scene.files.key,
        authorities=scene.files.authorities,
        revoked=revoking(scene, lost, tmp_path / "crl.pem"),
    )
    # The pair's files are written anew by the next certificate of that name.
    kept = Pair(tmp_path / "lost.pem", tmp_path / "lost-key.pem")
    kept.certificate.write_bytes(lost.certificate.read_bytes())
    kept.key.write_bytes(lost.key.read_bytes())
    async with scene.serving() as service:
        with pytest.raises((OSError, ValueError, IndexError, AssertionError)):
            await scene.ask(service, kept)
        assert (await scene.ask(service, scene.authority.issue("alice")))[0] == 200


async def test_a_new_certificate_of_the_node_is_taken_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    await scene.accounts.create("alice", UserChange())
    alice = scene.authority.issue("alice")
    async with scene.serving() as service:
        port = service.port
        assert (await scene.ask(service, alice))[0] == 200
        scene.authority.issue("node")
        await asyncio.sleep(0.1)
        assert (await scene.ask(service, alice))[0] == 200
        assert service.port == port


async def test_files_that_are_none_end_it(scene: Scene) -> None:
    scene.files.authorities.write_text("nonsense")
    with pytest.raises(CertificateError):
        scene.files.context()


async def test_noise_costs_a_connection_and_no_more(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.2)
    async with scene.serving() as service:
        for noise in (b"", b"\r\n", b"x" * 200_000):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", service.port, ssl=scene.client(None), server_hostname="localhost"
            )
            writer.write(noise)
            async with asyncio.timeout(SECONDS):
                assert await reader.read() == b""
            writer.close()
        assert (await scene.ask(service, None))[0] == 400


def test_bindings(tmp_path: Path) -> None:
    file = tmp_path / "b.toml"
    file.write_text('"CN=a,O=b" = "user"\nother = 5\n')
    assert read_bindings(file) == {"CN=a,O=b": "user"}
    file.write_bytes(b"x" * (module.MAX_BINDINGS_BYTES + 1))
    with pytest.raises(ValueError, match="bytes"):
        read_bindings(file)
