"""Whom a command talks to, and whom it shows the token of this machine."""

from pathlib import Path

import pytest
import typer

from gateway import secrets
from gateway.commands import target
from gateway.commands.target import DEFAULT_SERVER, Target, find, kept_token

KEPT = "token-of-the-embedded-node"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / secrets.SERVICE_TOKEN_FILE).write_text(KEPT + "\n")
    return tmp_path


def test_the_file_is_that_of_the_node() -> None:
    assert target.TOKEN_FILE == secrets.SERVICE_TOKEN_FILE


def test_by_default_it_is_the_node_on_this_machine(data: Path) -> None:
    assert find([], None, data=data) == Target((DEFAULT_SERVER,), KEPT)


def test_a_given_token_counts_before_the_kept_one(data: Path) -> None:
    assert find([], "given", data=data).token == "given"


def test_the_kept_token_is_shown_to_no_other_machine(data: Path) -> None:
    assert find(["http://example.com:8080"], None, data=data).token is None
    assert find(["http://localhost:8080", "http://example.com"], None, data=data).token is None
    assert find(["http://localhost:9000", "http://[::1]:9001"], None, data=data).token == KEPT


def test_servers_are_a_list_in_the_environment_too(data: Path) -> None:
    found = find(["http://a:1/,https://b", "c:3"], "t", data=data)

    assert found.servers == ("http://a:1", "https://b", "http://c:3")


@pytest.mark.parametrize("url", ["ftp://a", "http://", "http://user:secret@a", "http://a?token=secret"])
def test_what_is_no_server_is_refused_without_its_secret(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        find([url], None)

    assert "secret" not in capsys.readouterr().err


def test_no_data_is_no_token(tmp_path: Path) -> None:
    assert kept_token(tmp_path / "none") is None
    (tmp_path / target.TOKEN_FILE).write_bytes(b"\xff")
    assert kept_token(tmp_path) is None


def test_a_token_is_part_of_no_repr() -> None:
    assert "given" not in repr(Target((DEFAULT_SERVER,), "given"))
