"""Stages: which names and paths are taken, and variables in URLs."""

import pytest

from gateway.apigateway.stages import RESERVED, check_path, check_stage, fill, variables_in


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


def test_variables_are_filled_in() -> None:
    url = "http://${stageVariables.host}:80/${stageVariables.path}?${context.x}"
    assert variables_in(url) == ["host", "path"]
    assert fill(url, {"host": "a", "other": "b"}) == "http://a:80/?${context.x}"
