"""Stages: which names and paths are taken, and variables in URLs."""

import re
from pathlib import Path

import pytest

from gateway.admin import openapi, page
from gateway.apigateway.configuration.stages import RESERVED, check_path, check_stage, fill, variables_in
from gateway.channel import rpc
from gateway.channel import socket as channel_socket
from gateway.realtime import endpoint as realtime


@pytest.mark.parametrize("name", ["prod", "v2", "a-b_C", "x" * 128])
def test_names(name: str) -> None:
    check_stage(name)


@pytest.mark.parametrize("name", ["", "a b", "$default", "a/b", "é", "x" * 129, "a\n"])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a stage's name"):
        check_stage(name)


@pytest.mark.parametrize("path", ["/prod", "/ws/v1", "/a.b/c~d"])
def test_paths(path: str) -> None:
    check_path(path)


@pytest.mark.parametrize(
    "path", ["", "/", "prod", "/a/", "//a", "/a/../b", "/./a", "/@connections/x", "/a?b", "/" + "x" * 256]
)
def test_paths_that_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="a path is"):
        check_path(path)


@pytest.mark.parametrize("first", [*RESERVED, "V1", "Docs"])
def test_our_own_paths_are_not_shadowed(first: str) -> None:
    for path in (f"/{first}", f"/{first}/deeper"):
        with pytest.raises(ValueError, match=f"/{first} is one of this node's own paths"):
            check_path(path)


def test_every_path_of_the_node_is_reserved() -> None:
    """What is added to the node must be added to `RESERVED`: else a stage may stand in front of it."""
    pages = {getattr(route, "path", "/") for route in page.build().routes}
    sockets = {realtime.PATH, channel_socket.PATH, *rpc.PATHS}
    sources = [source.read_text() for source in (Path(__file__).parents[4] / "gateway").rglob("*.py")]
    routed = {path for text in sources for path in re.findall(r'\.(?:get|post|put|delete)\("(/\w[^"]*)"', text)}
    firsts = {path.split("/")[1] for path in (*pages, *routed, *openapi.paths(), *sockets)} - {"", "{stage}"}
    assert {"healthz", "docs", "assets", "v1", "_ah", "nodes"} <= firsts
    assert firsts <= set(RESERVED)


def test_variables_are_filled_in() -> None:
    url = "http://${stageVariables.host}:80/${stageVariables.path}?${context.x}"
    assert variables_in(url) == ["host", "path"]
    assert fill(url, {"host": "a", "other": "b"}) == "http://a:80/?${context.x}"
