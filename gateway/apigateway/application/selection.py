r"""Which route a message takes: selection expressions as AWS has them. Pure.

    $request.body.action                                 one variable
    ${request.body.service}/${request.body.action}       several, with text around them
    action, \$default                                    plain text; a backslash makes a dollar sign text

A variable is a path into the message's JSON: names behind dots, `[0]` for an element of an array, `['odd name']` for
any other name. What is not found is the empty text, what is not a text is written as JSON. The result is looked up
among the route keys as it stands: nothing in it is evaluated again (contracts/apigateway 8).
"""

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import Final

import orjson

CONNECT, DISCONNECT, DEFAULT = "$connect", "$disconnect", "$default"

STANDARD = "$request.body.action"
"""The expression of an API that gives none."""

MAX_EXPRESSION_CHARS = 1024
MAX_STEPS = 32
"""Of one path."""

_SOURCE = "request.body"
_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_STEP = re.compile(r"""\.([^\s.\[\]'"${}\\]+)|\[(\d{1,9})\]|\['([^'\\]*)'\]|\["([^"\\]*)"\]""")
_MISSING: Final = object()

Step = str | int


class InvalidExpression(ValueError):
    """The text is no selection expression; the message is a sentence with the way out."""


@dataclass(frozen=True, slots=True)
class Path:
    """Where a variable looks in a message's JSON: names and array indexes, from the outside in."""

    steps: tuple[Step, ...]

    def find(self, document: object) -> str:
        """Return what stands there as text; "" where nothing does."""
        for step in self.steps:
            document = _inside(document, step)
        if document is _MISSING:
            return ""
        return document if isinstance(document, str) else orjson.dumps(document).decode()


@dataclass(frozen=True, slots=True)
class Selection:
    """A selection expression, ready to be evaluated: text and variables in their order."""

    parts: tuple[str | Path, ...]

    def evaluate(self, body: str | bytes) -> str | None:
        """Return the route key that `body` asks for; None where a variable is asked of what is not JSON."""
        document: object = _MISSING
        if not all(isinstance(part, str) for part in self.parts):
            try:
                document = orjson.loads(body)
            except ValueError:
                return None
        return "".join(part if isinstance(part, str) else part.find(document) for part in self.parts)

    def route_of(self, body: str | bytes, routes: Container[str]) -> str | None:
        """Return the key of the route that takes `body`; None where there is none, not even `$default`."""
        key = self.evaluate(body)
        # No message is the opening or the end of its connection, whatever it says.
        if key is not None and key in routes and key not in (CONNECT, DISCONNECT):
            return key
        return DEFAULT if DEFAULT in routes else None


def parse(expression: str) -> Selection:
    """Read a selection expression. Raises `InvalidExpression`."""
    if not expression:
        raise InvalidExpression("The expression is empty.")
    if len(expression) > MAX_EXPRESSION_CHARS:
        raise InvalidExpression(f"The expression has more than {MAX_EXPRESSION_CHARS} characters.")
    if expression.startswith("$") and not expression.startswith("${"):
        return Selection((path_of(expression[1:]),))
    parts: list[str | Path] = []
    at = 0
    for found in re.finditer(r"\\\$|\$", expression):
        if found.start() < at:
            continue
        parts.append(expression[at : found.start()])
        part, at = _part(expression, found.start())
        parts.append(part)
    parts.append(expression[at:])
    return Selection(tuple(part for part in parts if part != ""))


def _part(expression: str, at: int) -> tuple[str | Path, int]:
    """Return what the dollar sign, or the backslash before one, at `at` begins, and where that ends."""
    if expression[at] == "\\":
        return "$", at + 2
    variable = _VARIABLE.match(expression, at)
    if variable is None:
        raise InvalidExpression(r"Beside other text a variable is ${request.body.…}, and a dollar sign is \$.")
    return path_of(variable[1]), variable.end()


def path_of(variable: str) -> Path:
    """Read what stands behind the dollar sign: `request.body.…`. Raises `InvalidExpression`."""
    if variable == "default":
        raise InvalidExpression(r"The text $default is written \$default.")
    if not variable.startswith(_SOURCE):
        raise InvalidExpression(f"${variable} is not known: a route is selected by $request.body.…")
    return Path(_steps(variable, len(_SOURCE)))


def _steps(variable: str, at: int) -> tuple[Step, ...]:
    steps: list[Step] = []
    while at < len(variable):
        step = _STEP.match(variable, at)
        if step is None:
            raise InvalidExpression(f"${variable} is no path: it breaks off at {variable[at:]!r}.")
        name, index, single, double = step.groups()
        steps.append(int(index) if index is not None else name or single or double or "")
        at = step.end()
    if not steps:
        raise InvalidExpression(f"${variable} names nothing inside the body, such as $request.body.action does.")
    if len(steps) > MAX_STEPS:
        raise InvalidExpression(f"${variable} has more than {MAX_STEPS} steps.")
    return tuple(steps)


def _inside(document: object, step: Step) -> object:
    if isinstance(step, int):
        return document[step] if isinstance(document, list) and step < len(document) else _MISSING
    return document.get(step, _MISSING) if isinstance(document, dict) else _MISSING
