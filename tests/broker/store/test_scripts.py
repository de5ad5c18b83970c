"""The scripts load with what they include, and every server accepts them."""

import hashlib
import re

import pytest
import servers

from broker.store import scripts
from broker.store.base import Script


@pytest.mark.parametrize("script", scripts.ALL, ids=lambda script: script.name)
def test_a_script_is_complete(script: Script) -> None:
    assert script.source.startswith("#!lua")
    assert script.source.count("#!lua") == 1
    assert "include:" not in script.source
    assert script.digest == hashlib.sha1(script.source.encode()).hexdigest()


def test_all_files_are_loaded() -> None:
    folder = scripts.files("broker.store") / "lua"
    names = {file.name.removesuffix(".lua") for file in folder.iterdir()}
    assert {name for name in names if not name.startswith("_")} == {script.name for script in scripts.ALL}
    included = set(re.findall(r"-- include: (\w+)", "".join(file.read_text() for file in folder.iterdir())))
    assert {name for name in names if name.startswith("_")} == included


def test_an_include_is_spliced_where_it_is_named() -> None:
    source = scripts.load("read").source
    assert source.index("local function mint_epoch") < source.index("local function log_state") < source.index("budget")
    with pytest.raises(FileNotFoundError):
        scripts.load("absent")


@pytest.mark.parametrize("name", ["valkey", "redis7"])
def test_every_server_compiles_every_script_to_the_same_digest(request: pytest.FixtureRequest, name: str) -> None:
    server: servers.Server = request.getfixturevalue(name)
    for script in scripts.ALL:
        assert server.client.script_load(script.source) == script.digest


FREEING = {
    *{"channel_close", "channel_due", "channel_open", "channel_read", "channel_settle"},
    *{"read", "snapshot", "find_time", "describe", "delete", "trim", "remove", "traffic"},
    *{"describe_subscription", "delete_subscription", "pull_cursor", "ack_cursor", "lease", "settle", "seek"},
}


@pytest.mark.parametrize("script", scripts.ALL, ids=lambda script: script.name)
def test_what_frees_or_reads_goes_on_without_memory(script: Script) -> None:
    allowed = script.source.splitlines()[0] == "#!lua flags=allow-oom"
    assert allowed is (script.name in FREEING)
