"""A token for a client certificate, as ARGO's authentication service gives it (contract ams.md 4.13).

    GET /v1/service-types/ams/hosts/HOST:authx509        on a TLS port of its own, with a certificate and no token

TLS itself verifies the certificate against the authorities that the operator trusts, its dates and, with a CRL, its
revocation: a bad one does not get through the handshake. Its subject is then looked up among the bindings, a TOML file
of `"<subject>" = "<user>"`, which is read anew at each request: subjects are few, and requests rare.
"""

import asyncio
import logging
import re
import ssl
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson
from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

from broker.accounts import Accounts
from broker.errors import HeadraceError
from broker.users import UnknownUser
from gateway.options import option
from gateway.tls import CertificateError

log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 16 * 1024
REQUEST_SECONDS = 10.0
"""From the handshake's end to the answer."""

MAX_CONNECTIONS = 100
"""At once; whoever comes beyond them is hung up on."""

MAX_BINDINGS_BYTES = 1024 * 1024

LOOK_SECONDS = 5.0
"""Between two looks at the files of certificates: how late a change is seen."""

_PATH = re.compile(r"/v1/service-types/([^/]+)/hosts/([^/]+):authx509")

SERVICE_TYPE = "ams"

_NAMES: tuple[tuple[ObjectIdentifier, str], ...] = (
    (NameOID.SERIAL_NUMBER, "SERIALNUMBER"),
    (NameOID.COMMON_NAME, "CN"),
    (NameOID.POSTAL_CODE, "POSTALCODE"),
    (NameOID.STREET_ADDRESS, "STREET"),
    (NameOID.STATE_OR_PROVINCE_NAME, "ST"),
    (NameOID.LOCALITY_NAME, "L"),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "OU"),
    (NameOID.ORGANIZATION_NAME, "O"),
    (NameOID.COUNTRY_NAME, "C"),
)
"""In the order of the subject's text; a name with several values joins them with `+`."""


def subject_of(subject: x509.Name) -> str:
    """Return a subject as ARGO's service writes it: e-mail first, then RFC 2253's order, domain components last."""
    parts = [_values(subject, NameOID.EMAIL_ADDRESS, "E")]
    for oid, name in _NAMES:
        values = _values(subject, oid, name)
        # Go keeps one of these, the last.
        parts.append(values[-1:] if oid in (NameOID.COMMON_NAME, NameOID.SERIAL_NUMBER) else values)
    parts.append(_values(subject, NameOID.DOMAIN_COMPONENT, "DC"))
    return ",".join("+".join(values) for values in parts if values)


def _values(subject: x509.Name, oid: ObjectIdentifier, name: str) -> list[str]:
    texts = [str(attribute.value) for attribute in subject.get_attributes_for_oid(oid)]
    return [f"{name}={_escaped(text)}" for text in texts]


def _escaped(text: str) -> str:
    """Escape as RFC 2253 asks."""
    marked = re.sub(r'([,+"\\<>;])', r"\\\1", text)
    if marked.startswith(("#", " ")):
        marked = "\\" + marked
    return marked[:-1] + "\\ " if marked.endswith(" ") and len(marked) > 1 else marked


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFiles:
    """PEM files; `revoked` is empty where no CRL is checked."""

    certificate: Path
    key: Path
    authorities: Path
    revoked: Path | None = None

    @property
    def state(self) -> tuple[int, ...]:
        files = [self.certificate, self.key, self.authorities, *([self.revoked] if self.revoked else [])]
        return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in files)

    def context(self) -> ssl.SSLContext:
        """Return the server's side of TLS: a certificate is asked for, not insisted on. Raises `CertificateError`."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.verify_mode = ssl.CERT_OPTIONAL
        # A resumed session would carry a certificate that was verified long ago.
        made.options |= ssl.OP_NO_TICKET
        made.num_tickets = 0
        try:
            made.load_cert_chain(self.certificate, self.key)
            made.load_verify_locations(self.authorities)
            if self.revoked is not None:
                made.load_verify_locations(self.revoked)
                made.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
        except (OSError, ValueError) as error:
            raise CertificateError(f"certificates of the X.509 port: {error}") from None
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class X509:
    """The options of this service."""

    port: int = option(0, "The port that gives tokens for client certificates; 0: none.", least=0, most=65_535)
    authorities: str = option("", "PEM file of the authorities whose certificates count.")
    revoked: str = option("", "PEM file of their revocation lists; empty: none is checked.")
    bindings: str = option("", 'TOML file that gives each subject its user: "CN=a,O=b" = "user".')
    hosts: tuple[str, ...] = option((), "Names that requests may give this service; empty: any.")


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, word: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.word = word


class TokenService:
    """Answers on its own port. `hosts` are the names that a path may give this service by; none: any."""

    def __init__(
        self, accounts: Accounts, files: CertificateFiles, *, bindings: Path, hosts: Sequence[str], host: str, port: int
    ) -> None:
        self._accounts = accounts
        self._files = files
        self._bindings = bindings
        self._hosts = frozenset(hosts)
        self._address = (host, port)
        self._connections = 0
        self.port = 0
        """Where it listens, once it does."""

    async def serve(self) -> None:
        """Listen until cancelled, with new certificates as soon as their files change. Raises `CertificateError`."""
        context = self._files.context()
        seen = self._files.state
        while True:
            host, port = self._address
            server = await asyncio.start_server(self._on_connection, host, self.port or port, ssl=context)
            self.port = server.sockets[0].getsockname()[1]
            async with server:
                while self._files.state == seen:  # noqa: ASYNC110 - files ring no bell
                    await asyncio.sleep(LOOK_SECONDS)
                seen = self._files.state
                with suppress(CertificateError):
                    context = self._files.context()

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= MAX_CONNECTIONS:
            writer.close()
            return
        self._connections += 1
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                await self._answer(reader, writer)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._connections -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")[0].decode("latin-1")
        try:
            status, document = 200, {"token": await self._token(line, _certificate_of(writer))}
        except Refused as refusal:
            status = refusal.status
            document = {"error": {"code": status, "message": str(refusal), "status": refusal.word}}  # type: ignore[dict-item]
        except Exception:
            log.exception("a token could not be given for a certificate")
            status = 500
            document = {"error": {"code": 500, "message": "Internal Error", "status": "INTERNAL SERVER ERROR"}}  # type: ignore[dict-item]
        body = orjson.dumps(document)
        head = f"HTTP/1.1 {status} {'OK' if status == 200 else 'Refused'}\r\nConnection: close\r\n"
        kind = f"Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write((head + kind).encode() + body)
        await writer.drain()

    async def _token(self, line: str, certificate: x509.Certificate | None) -> str:
        method, _, rest = line.partition(" ")
        found = _PATH.fullmatch(rest.partition(" ")[0].partition("?")[0])
        if found is None:
            raise Refused(404, "NOT FOUND", "404 page not found")
        if method != "GET":
            raise Refused(405, "METHOD NOT ALLOWED", "405 method not allowed")
        if certificate is None:
            raise Refused(400, "BAD REQUEST", "No certificate provided")
        if found[1] != SERVICE_TYPE:
            raise Refused(404, "NOT FOUND", "Service-type was not found")
        if self._hosts and found[2] not in self._hosts:
            raise Refused(404, "NOT FOUND", "Host was not found")
        subject = subject_of(certificate.subject)
        user = (await asyncio.to_thread(read_bindings, self._bindings)).get(subject)
        if user is None:
            raise Refused(404, "NOT FOUND", "Binding was not found")
        return await self._token_of(user)

    async def _token_of(self, name: str) -> str:
        try:
            token = self._accounts.token_of(await self._accounts.user(name))
        except UnknownUser:
            raise Refused(404, "NOT FOUND", "Binding was not found") from None
        except HeadraceError as error:
            raise Refused(500, "INTERNAL SERVER ERROR", error.reason) from None
        if not token:
            raise Refused(500, "INTERNAL SERVER ERROR", "The user's token cannot be read; refresh it")
        return token


def read_bindings(path: Path) -> dict[str, str]:
    """Return users by subject. Raises `OSError`, `ValueError`."""
    with path.open("rb") as opened:
        data = opened.read(MAX_BINDINGS_BYTES + 1)
    if len(data) > MAX_BINDINGS_BYTES:
        raise ValueError(f"{path} has more than {MAX_BINDINGS_BYTES} bytes")
    return {subject: user for subject, user in tomllib.loads(data.decode()).items() if isinstance(user, str)}


def _certificate_of(writer: asyncio.StreamWriter) -> x509.Certificate | None:
    tls: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
    encoded = tls.getpeercert(binary_form=True) if tls is not None else None
    return x509.load_der_x509_certificate(encoded) if encoded else None
