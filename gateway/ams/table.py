"""The table of ARGO's routes: which row a method and a path mean.

Each resource file exports its rows as `ROUTES`; `routes` collects them. A row's path is that of the contract, such as
`/projects/{project}/topics/{topic}:acl`: a segment is literal, a variable, or a variable with an action. A literal
segment wins over a variable, a known action over none; what stays is a bare variable whose name then is not valid.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from gateway.ams.requests import Handler

VARIABLES = frozenset({"project", "schema", "subscription", "token", "topic", "user", "uuid"})


class Needs(Enum):
    """What a route asks of its caller before the handler."""

    ROLE = "role"
    """A role that the table of roles grants the row's `name`."""
    TOKEN = "token"
    """A token that is known."""
    NOTHING = "nothing"
    """The handler reads the token itself, if it cares."""


@dataclass(frozen=True, slots=True)
class Row:
    """One route. `name` is its name in the table of roles, such as `topics:acl`."""

    method: str
    path: str
    name: str
    handler: Handler
    needs: Needs = Needs.ROLE
    creates_project: bool = False
    """True where the project in the path need not exist."""
    asks_project: bool = True
    """False: whether the project exists is asked only to choose between two refusals. For hot verbs."""


@dataclass(frozen=True, slots=True)
class Match:
    """A row, and the raw values of its path's variables."""

    row: Row
    values: dict[str, bytes]


class WrongVerb(Exception):
    """The path is known, with other methods."""

    def __init__(self, allowed: list[str]) -> None:
        super().__init__(allowed)
        self.allowed = allowed


_Key = tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class _Shape:
    """A row's path, taken apart: literal segments, None for a variable, and the action behind the last one."""

    literals: _Key
    variables: tuple[tuple[int, str], ...]
    action: bytes

    @property
    def open(self) -> tuple[int, ...]:
        return tuple(index for index, _ in self.variables)


class Table:
    """Rows, looked up by segments; the cost does not grow with their number."""

    __slots__ = ("_masks", "_rows")

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows: dict[tuple[_Key, bytes], dict[str, tuple[Row, _Shape]]] = {}
        self._masks: dict[int, list[tuple[int, ...]]] = {}
        for row in rows:
            self._add(row, _shape_of(row.path))

    def _add(self, row: Row, shape: _Shape) -> None:
        methods = self._rows.setdefault((shape.literals, shape.action), {})
        if row.method in methods:
            raise ValueError(f"two rows for {row.method} {row.path}")
        methods[row.method] = (row, shape)
        masks = self._masks.setdefault(len(shape.literals), [])
        if shape.open not in masks:
            masks.append(shape.open)
            masks.sort(key=len)

    def find(self, method: str, parts: Sequence[bytes]) -> Match | None:
        """Return what `parts`, the path's raw segments, mean; None for an unknown path. Raises `WrongVerb`."""
        allowed: dict[str, None] = {}
        for methods, action in self._candidates(parts):
            found = methods.get(method)
            if found is not None:
                return _match(found[0], found[1], parts, action)
            allowed.update(dict.fromkeys(methods))
        if allowed:
            raise WrongVerb([*allowed])
        return None

    def _candidates(self, parts: Sequence[bytes]) -> Iterable[tuple[dict[str, tuple[Row, _Shape]], bytes]]:
        """Yield the methods of each path that matches, the most specific first."""
        last = len(parts) - 1
        for mask in self._masks.get(len(parts), ()):
            key: _Key = tuple([None if index in mask else part for index, part in enumerate(parts)])
            action = parts[last].rpartition(b":")[2] if last in mask and b":" in parts[last] else b""
            if action and (methods := self._rows.get((key, action))):
                yield methods, action
            if methods := self._rows.get((key, b"")):
                yield methods, b""


def _match(row: Row, shape: _Shape, parts: Sequence[bytes], action: bytes) -> Match:
    values = {name: parts[index] for index, name in shape.variables}
    if action:
        name = shape.variables[-1][1]
        values[name] = values[name][: -len(action) - 1]
    return Match(row, values)


def _shape_of(path: str) -> _Shape:
    literals: list[bytes | None] = []
    variables: list[tuple[int, str]] = []
    action = ""
    for index, segment in enumerate(path.removeprefix("/").split("/")):
        if not segment.startswith("{"):
            literals.append(segment.encode())
            continue
        name, _, rest = segment[1:].partition("}")
        if name not in VARIABLES:
            raise ValueError(f"{path} names the variable {name}, which has no rule")
        action = rest.removeprefix(":")
        literals.append(None)
        variables.append((index, name))
    return _Shape(tuple(literals), tuple(variables), action.encode())
