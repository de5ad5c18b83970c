"""The cluster's scripts load with what they include, and every server accepts them."""

import re
from importlib.resources import files

import pytest
import servers

from cluster import scripts


def test_all_files_are_loaded() -> None:
    texts = {path.name.removesuffix(".lua"): path.read_text() for path in (files("cluster") / "lua").iterdir()}
    names = set(texts)
    assert {name for name in names if not name.startswith("_")} == {script.name for script in scripts.ALL}
    included = set(re.findall(r"-- include: (\w+)", "".join(texts.values())))
    assert {name for name in names if name.startswith("_")} == included


@pytest.mark.parametrize("name", ["valkey", "redis7"])
def test_every_server_compiles_every_script_to_the_same_digest(request: pytest.FixtureRequest, name: str) -> None:
    server: servers.Server = request.getfixturevalue(name)
    for script in scripts.ALL:
        assert script.source.startswith("#!lua")
        assert "include:" not in script.source
        assert server.client.script_load(script.source) == script.digest
