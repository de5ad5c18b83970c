"""https and wss: the node's certificate, taken up again when its files change, without a restart.

Every handshake asks for the context that is in force then, so a change is one assignment: a half-written pair of files
is refused as a whole, and connections that stand are not touched.
"""

import asyncio
import logging
import ssl
from pathlib import Path

LOOK_SECONDS = 5.0
"""Between two looks at the files: how late a change is seen."""

ALPN = ["http/1.1"]

log = logging.getLogger(__name__)


class CertificateError(Exception):
    """Certificate and key cannot be used; the text says why, and holds nothing of the key."""


class Tls:
    """The server's side of TLS. `context` is what a listener is given; `serve` looks after the files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises `CertificateError`."""
        self._files = (certificate, key)
        self._seen = self._state()
        self._current = _load(certificate, key)
        self.context = _load(certificate, key)
        self.context.sni_callback = self._choose

    def use(self, certificate: Path, key: Path) -> bool:
        """Take up what these files hold, and look after them from now on. As `reload`."""
        self._files = (certificate, key)
        return self.reload()

    def reload(self) -> bool:
        """Take up what the files hold now; where they hold no usable pair, keep what there is and return False."""
        self._seen = self._state()
        try:
            self._current = _load(*self._files)
        except CertificateError as error:
            log.error("the certificate is kept as it was: %s", error)
            return False
        log.info("the certificate is taken from its files", extra={"file": str(self._files[0])})
        return True

    async def serve(self) -> None:
        """Reload whenever the files have changed, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._state() != self._seen:
                self.reload()

    def _choose(self, handshake: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Called in every handshake, whether the client names a server or not."""
        handshake.context = self._current

    def _state(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_state_of(path) for path in self._files)


def _state_of(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is replaced or rewritten; through links, as Kubernetes replaces secrets by them."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _load(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(ALPN)
    try:
        # A passphrase would be asked for on the terminal.
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except ssl.SSLError as error:
        reason = error.reason or "not PEM, or the key has a passphrase"
        raise CertificateError(f"{certificate} and {key} are no usable pair ({reason})") from None
    except OSError as error:
        raise CertificateError(f"{error.filename or certificate}: {error.strerror}") from None
    except ValueError:
        raise CertificateError(f"{key} has a passphrase, which a node cannot ask for") from None
    return context


def _no_passphrase() -> str:
    raise ValueError("no passphrase")
