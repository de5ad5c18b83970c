"""What a newcomer reads."""

import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.commands import serving
from gateway.commands.serving import greeting, serve, url_of
from gateway.commands.terminal import FAILED
from gateway.config import Config, Secret
from gateway.secrets import SERVICE_TOKEN_FILE
from gateway.server import bind

TOKEN = "operator-token-0123456789"
EMBEDDED = Config(name="node-1", service_token=Secret(TOKEN))
URL = "http://127.0.0.1:8080"


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_an_embedded_node_says_where_it_is_and_what_to_type() -> None:
    text = greeting(EMBEDDED, command="headrace")

    assert f"{URL}/" in text
    assert "node node-1" in text
    assert TOKEN in text
    assert SERVICE_TOKEN_FILE in text
    assert "  headrace sub default/demo\n" in text
    assert "  echo hello | headrace pub default/demo\n" in text


def test_the_token_is_part_of_no_url() -> None:
    for line in greeting(EMBEDDED, command="headrace").splitlines():
        assert not (TOKEN in line and "http" in line)


def test_a_node_off_the_beaten_path_says_how_to_find_it() -> None:
    config = replace(EMBEDDED, port=9999, data="/elsewhere/data")

    text = greeting(config, command=".venv/bin/headrace")

    assert "  .venv/bin/headrace sub default/demo --server http://127.0.0.1:9999 --data /elsewhere/data\n" in text


def test_a_node_on_a_shared_redis_keeps_its_token_to_itself() -> None:
    config = Config(redis=Secret("redis://:password@db"), service_token=Secret(TOKEN), secret_key=Secret("k" * 32))

    text = greeting(config, command="headrace")

    assert TOKEN not in text
    assert "password" not in text
    assert "headrace sub default/demo --token ..." in text


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://127.0.0.1:80"),
        ("::1", "http://[::1]:80"),
        ("box.example", "http://box.example:80"),
    ],
)
def test_the_url_is_one_that_can_be_opened_here(host: str, url: str) -> None:
    assert url_of(host, 80) == url
    assert url_of(host, 80, scheme="https") == url.replace("http", "https")


def test_a_taken_port_is_said_before_anything_is_started(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        config = Config(port=taken.getsockname()[1], data=str(tmp_path / "data"))

        assert serve(config, read=lambda: config) == FAILED

    assert "Address already in use" in capsys.readouterr().err


def test_the_command_is_named_as_it_is_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "headrace"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setenv("PATH", "/nowhere")

    assert serving.command_name() == "bin/headrace"

    monkeypatch.setenv("PATH", str(program.parent))

    assert serving.command_name() == "headrace"
