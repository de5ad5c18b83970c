"""What a command says of its connection, and when it gives up."""

import pytest
import typer

from gateway.commands.connecting import Herald, connected
from gateway.commands.target import Target
from gateway.server import bind
from headrace import State


def test_only_a_change_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    herald = Herald()
    up = State(True, server="http://a", node="a")
    down = State(False, server="http://a", reason="refused")

    herald.on_state(State(False))
    herald.on_state(up)
    assert capsys.readouterr().err == ""

    herald.on_state(down)
    herald.on_state(down)
    herald.on_state(up)
    herald.on_state(up)

    assert capsys.readouterr().err.splitlines() == [
        "headrace: no connection (refused), trying again",
        "headrace: connected to http://a",
    ]

    herald.leave()
    herald.on_state(down)
    assert capsys.readouterr().err == ""


async def test_where_nobody_listens_the_command_ends_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    with bind("127.0.0.1", 0) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(typer.Exit):
            async with connected(Target((url,)), seconds=0.2):
                pass

    assert "No connection in 0.2 s" in capsys.readouterr().err
