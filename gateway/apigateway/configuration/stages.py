"""Stages: their names, their paths, and their variables in URLs. Pure."""

import re
from collections.abc import Mapping

RESERVED = (
    "_ah",
    "assets",
    "docs",
    "headrace",
    "healthz",
    "metrics",
    "nodes",
    "openapi.json",
    "readyz",
    "rpc_http",
    "v1",
)
"""First segments of this node's own paths."""

MAX_PATH_CHARS = 256
MAX_VARIABLES = 100
"""Of one stage, as at AWS."""

_STAGE = re.compile(r"[A-Za-z0-9_-]{1,128}")
_PATH = re.compile(r"(/[A-Za-z0-9_.~-]+)+")
_VARIABLE = re.compile(r"\$\{stageVariables\.([A-Za-z0-9_]+)\}")


def check_stage(name: str) -> None:
    """Raise `ValueError` unless a stage may be called `name`."""
    if not _STAGE.fullmatch(name):
        raise ValueError(f"a stage's name is 1 to 128 letters, digits, '_' or '-'; {name[:40]!a} is not")


def check_path(path: str) -> None:
    """Raise `ValueError` unless clients may connect to `path`."""
    if not _PATH.fullmatch(path) or len(path) > MAX_PATH_CHARS or {".", ".."} & set(path.split("/")):
        raise ValueError(f"a path is /segments of letters, digits, '_', '.', '~' and '-'; {path[:40]!a} is not")
    first = path.split("/")[1]
    if first.lower() in RESERVED:
        raise ValueError(
            f"/{first} is one of this node's own paths, which the stage would shadow; "
            f'give the stage another name, or the API a path such as path = "/ws/{first}"'
        )


def variables_in(text: str) -> list[str]:
    """Return the stage variables that a URL names, in order."""
    return _VARIABLE.findall(text)


def fill(text: str, variables: Mapping[str, str]) -> str:
    """Return `text` with each `${stageVariables.name}` replaced; one that is not set is left empty, as at AWS."""
    return _VARIABLE.sub(lambda found: variables.get(found[1], ""), text)
