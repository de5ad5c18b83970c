"""A certificate authority for one machine: `scripts/make-ca`. For trying and testing; nobody else should trust it.

python -m gateway.authority DIRECTORY [NAME ...]
"""

import datetime
import ipaddress
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = datetime.timedelta(days=365)
"""Of the authority and of what it signs."""

BACKDATED = datetime.timedelta(minutes=5)
"""For clocks that are late."""

ALWAYS = ("localhost", "127.0.0.1", "::1")

CA_NAME = "Headrace on this machine"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, and the files that hold them."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates. Its files lie in `directory`; they are made where they are missing."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.files = Pair(directory / "ca.pem", directory / "ca-key.pem")
        if not (self.files.certificate.exists() and self.files.key.exists()):
            self._make()
        self._certificate = x509.load_pem_x509_certificate(self.files.certificate.read_bytes())
        key = serialization.load_pem_private_key(self.files.key.read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key

    def issue(self, name: str, *, hosts: Sequence[str] = ALWAYS, lifetime: datetime.timedelta = LIFETIME) -> Pair:
        """Write `<name>.pem` and `<name>-key.pem`: a server's and client's certificate for `hosts`."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(name, self._certificate.subject, key, lifetime)
            .add_extension(x509.SubjectAlternativeName([_alternative(host) for host in hosts]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        pair = Pair(self.directory / f"{name}.pem", self.directory / f"{name}-key.pem")
        _write(pair, builder.sign(self._key, hashes.SHA256()), key)
        return pair

    def _make(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, CA_NAME)])
        builder = (
            _builder(CA_NAME, subject, key, LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_may_sign(), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        _write(self.files, builder.sign(key, hashes.SHA256()), key)


def _builder(
    name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, lifetime: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lifetime)
    )


def _may_sign() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(pair: Pair, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # Never readable by others, not even for a moment.
    pair.key.unlink(missing_ok=True)
    pair.key.touch(mode=0o600, exist_ok=False)
    pair.key.write_bytes(secret)
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def main(words: Sequence[str]) -> int:
    if not words or words[0].startswith("-"):
        print("usage: scripts/make-ca DIRECTORY [NAME ...]", file=sys.stderr)
        return 2
    directory, *names = words
    authority = Authority(Path(directory))
    pair = authority.issue("node", hosts=(*ALWAYS, *names))
    print(f"authority  {authority.files.certificate}\ncertificate  {pair.certificate}\nkey  {pair.key}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
