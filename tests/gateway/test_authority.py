"""The local authority: what it writes is valid, kept from others, and made again only where it is missing."""

import ssl
from pathlib import Path

import pytest

from gateway.authority import Authority, main


def test_what_it_issues_is_trusted_by_those_who_trust_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "new")
    pair = authority.issue("node", hosts=("localhost", "127.0.0.1"))
    trusting = ssl.create_default_context(cafile=str(authority.files.certificate))
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(pair.certificate, pair.key)
    for host, good in (("localhost", True), ("127.0.0.1", True), ("example.com", False)):
        assert _shakes_hands(serving, trusting, host) is good


def _shakes_hands(serving: ssl.SSLContext, trusting: ssl.SSLContext, host: str) -> bool:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(down, up, server_hostname=host)
    server = serving.wrap_bio(up, down, server_side=True)
    for _ in range(5):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLCertVerificationError:
                return False
    return True


def test_keys_are_the_owners_alone_and_an_authority_is_used_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "node.example"]) == 0
    first = (tmp_path / "ca.pem").read_bytes()
    assert main([str(tmp_path)]) == 0
    assert (tmp_path / "ca.pem").read_bytes() == first
    for name in ("ca-key.pem", "node-key.pem"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in capsys.readouterr().out


def test_without_a_directory_it_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err
