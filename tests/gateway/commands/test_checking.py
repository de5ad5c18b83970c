"""`headrace config check` shows every option, and no secret."""

import json

import pytest

from gateway.commands.checking import show
from gateway.config import load

SECRET = "operator-token-0123456789"


@pytest.mark.parametrize("as_json", [False, True])
def test_every_option_is_explained_and_no_secret_shown(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    config = load({"port": 9000}, environment={"HEADRACE_SERVICE_TOKEN": SECRET})

    show(config, as_json=as_json)

    out = capsys.readouterr().out
    assert SECRET not in out
    assert "limits.connections" in out
    if as_json:
        rows = {row["option"]: row for row in map(json.loads, out.splitlines())}
        assert (rows["port"]["value"], rows["port"]["source"]) == ("9000", "--port")
        assert rows["service_token"]["value"] == "set"
    else:
        assert "port = 9000" in out
        assert "[HEADRACE_SERVICE_TOKEN]" in out
