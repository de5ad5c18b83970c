"""`headrace nodes`: the cluster as one of its nodes sees it, a line each, or as JSON for scripts."""

import json
from collections.abc import Mapping
from typing import Any

from gateway.commands.topics import Api

COLUMNS = ("name", "url", "weight", "version", "load", "state", "age")

Shown = Mapping[str, Any]
"""A node as `GET /nodes` shows it."""


def show(api: Api, *, as_json: bool) -> None:
    """Print all nodes, in the order of their names."""
    nodes = api.call("GET", "/nodes")["nodes"]
    if as_json:
        for node in nodes:
            print(json.dumps(node))
    else:
        print(table(nodes))


def table(nodes: list[Shown]) -> str:
    """Return the nodes in columns, headed; the one that was asked is marked."""
    rows = [COLUMNS, *map(_row, nodes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def age(seconds: int | None) -> str:
    """Return an age in its two largest units, as `2d3h` or `41s`."""
    if seconds is None:
        return "?"
    for unit, size, part, smaller in (("d", 86_400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if seconds >= size:
            return f"{seconds // size}{unit}{seconds % size // smaller}{part}"
    return f"{seconds}s"


def _row(node: Shown) -> tuple[str, ...]:
    return (
        f"{node['name']}{' *' if node.get('this') else ''}",
        node["url"] or "-",
        str(node["weight"]),
        node["version"] or "?",
        str(node["load"]),
        "draining" if node["draining"] else "ready",
        age(node["age_s"]),
    )
