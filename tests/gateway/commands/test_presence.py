"""`headrace config presence-secret`: with what it prints, what a node signs is verified."""

from dataclasses import replace
from pathlib import Path

import pytest
import typer

from gateway.channel.ports import Presence, PresenceKind
from gateway.channel.webhooks import body_of, derived, headers_of, secrets_of
from gateway.commands.presence import secret
from gateway.config import Config, Secret
from gateway.secrets import with_kept_secrets
from headrace.channel import verify_presence

KEY = Secret("k" * 40)


def test_what_an_embedded_node_signs_is_verified_with_it(tmp_path: Path) -> None:
    config = Config(data=str(tmp_path))
    found = secret(config, derived)
    event = Presence(kind=PresenceKind.CONNECTED, client_id=b"anna", event_id="x-1", sequence=1)
    body = body_of(event, numbered=False)
    kept = with_kept_secrets(config).secret_key
    assert kept is not None
    headers = headers_of(event, body, secrets=secrets_of(given=None, key=kept, old=KEY), now_s=1000)

    presence = verify_presence("/_ah/channel/connected/", headers, body, secret=found, now=1000)
    assert (presence.client_id, presence.connected) == ("anna", True)


def test_a_secret_that_was_given_is_that() -> None:
    config = Config(redis=Secret("redis://db"))
    given = replace(config, channel=replace(config.channel, presence_secret=Secret("a secret of ours")))
    assert secret(given, derived) == "a secret of ours"


def test_without_the_nodes_key_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        secret(Config(redis=Secret("redis://db")), derived)

    assert "HEADRACE_SECRET_KEY" in capsys.readouterr().err
