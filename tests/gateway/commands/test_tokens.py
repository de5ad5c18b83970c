"""`headrace token`: what it mints is what a node of the same secret key accepts."""

import time
from pathlib import Path

import pytest
import typer

from broker.names import TopicName
from gateway.auth import Authenticator
from gateway.commands.tokens import mint, read_lifetime
from gateway.config import Config, Secret
from gateway.secrets import with_kept_secrets


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800)]
)
def test_a_lifetime_is_written_as_people_say_it(text: str, seconds: int) -> None:
    assert read_lifetime(text) == seconds


@pytest.mark.parametrize("text", ["", "1w", "-1", "1.5h", "h", "9" * 10])
def test_what_is_no_lifetime_is_refused(text: str) -> None:
    with pytest.raises(typer.Exit):
        read_lifetime(text)


def test_an_embedded_nodes_token_is_accepted_by_that_node(tmp_path: Path) -> None:
    config = Config(data=str(tmp_path))

    token = mint(config, subject="anna", publish=["default/in*"], subscribe=["default/out"], lifetime="1h")

    node = Authenticator(with_kept_secrets(config), now_ms=lambda: int(time.time() * 1000), monotonic=time.monotonic)
    principal = node.known(token)
    assert principal is not None
    assert (principal.name, principal.operator) == ("anna", False)
    principal.require_publish(TopicName("default/inbox"))
    principal.require_subscribe(TopicName("default/out"))


def test_without_the_nodes_secret_there_is_no_token(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        mint(Config(redis=Secret("redis://db")), subject="anna", publish=[], subscribe=[], lifetime="1h")

    assert "HEADRACE_SECRET_KEY" in capsys.readouterr().err


def test_what_a_token_cannot_say_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        mint(Config(data=str(tmp_path)), subject="@service", publish=[], subscribe=[], lifetime="1h")

    assert "@" in capsys.readouterr().err
