"""Policy documents as AWS writes them: which actions are allowed on which resources. Pure.

    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "arn:..."}]}

What no statement allows is denied, and an explicit Deny beats every Allow. Conditions are refused: a statement that is
not understood whole must not decide anything.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MANAGE_CONNECTIONS = "execute-api:ManageConnections"
"""The action of every `@connections` call (contracts/apigateway 5)."""

INVOKE = "execute-api:Invoke"
"""The action of opening a connection."""

MAX_STATEMENTS = 100
MAX_PATTERNS = 500
"""Actions, or resources, of one statement."""

MAX_PATTERN_CHARS = 2048

ARN_PARTS = 6
"""`arn:partition:service:region:account:resource`; only the last may hold colons."""

_MEMBERS = {"version": "Version", "id": "Id", "statement": "Statement"}
_STATEMENT_MEMBERS = {
    "sid": "Sid",
    "effect": "Effect",
    "action": "Action",
    "notaction": "NotAction",
    "resource": "Resource",
    "notresource": "NotResource",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """`inverted_...`: the patterns name what it is not about (NotAction, NotResource)."""

    allows: bool
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    inverted_actions: bool = False
    inverted_resources: bool = False

    def is_about(self, action: str, resource: str) -> bool:
        wanted = action.lower()
        acts = any(matches(pattern.lower(), wanted) for pattern in self.actions)
        there = any(resource_matches(pattern, resource) for pattern in self.resources)
        return acts is not self.inverted_actions and there is not self.inverted_resources


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy document that was understood."""

    statements: tuple[Statement, ...]

    def allows(self, action: str, resource: str) -> bool:
        """Tell whether `action` on the ARN `resource` is allowed by some statement and denied by none."""
        about = [statement.allows for statement in self.statements if statement.is_about(action, resource)]
        return bool(about) and all(about)


ALL = Policy((Statement(allows=True, actions=("*",), resources=("*",)),))
"""Everything is allowed."""


def connections_arn(*, region: str, account: str, api: str, stage: str, method: str, connection: str) -> str:
    """Return the resource of one `@connections` call."""
    return f"arn:aws:execute-api:{region}:{account}:{api}/{stage}/{method}/@connections/{connection}"


def route_arn(*, region: str, account: str, api: str, stage: str, route_key: str) -> str:
    """Return the resource of one route: an authorizer's methodArn, where the route is `$connect`."""
    return f"arn:aws:execute-api:{region}:{account}:{api}/{stage}/{route_key}"


def read_policy(document: object) -> Policy:
    """Read a policy document: a table, its JSON, or only its statements. Raises `ValueError` with what is wrong.

    In a configuration the members may be in lower case, and an Effect that is missing is Allow.
    """
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except ValueError:
            raise ValueError("a policy that is a text must be JSON") from None
    if isinstance(document, Mapping):
        members = _members(document, _MEMBERS, "a policy")
        if "Statement" not in members:
            raise ValueError("a policy needs a Statement")
        document = members["Statement"]
    statements = [document] if isinstance(document, Mapping) else document
    if not isinstance(statements, list | tuple) or not 1 <= len(statements) <= MAX_STATEMENTS:
        raise ValueError(f"a policy has 1 to {MAX_STATEMENTS} statements {{Effect, Action, Resource}}")
    return Policy(tuple(_statement(given, number) for number, given in enumerate(statements, 1)))


def _statement(given: object, number: int) -> Statement:
    called = f"statement {number}"
    if not isinstance(given, Mapping):
        raise ValueError(f"{called} must be a table {{Effect, Action, Resource}}")
    members = _members(given, _STATEMENT_MEMBERS, called)
    effect = members.get("Effect", "Allow")
    if effect not in ("Allow", "Deny"):
        raise ValueError(f"{called}: its Effect must be Allow or Deny")
    actions, inverted_actions = _patterns(members, "Action", called)
    resources, inverted_resources = _patterns(members, "Resource", called)
    return Statement(
        allows=effect == "Allow",
        actions=actions,
        resources=resources,
        inverted_actions=inverted_actions,
        inverted_resources=inverted_resources,
    )


def _members(given: Mapping[object, object], known: Mapping[str, str], called: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in given.items():
        proper = known.get(name.lower()) if isinstance(name, str) else None
        if proper is None:
            raise ValueError(
                f"{called} has {str(name)[:40]!a}, which is not supported; known: {', '.join(known.values())}"
            )
        found[proper] = value
    return found


def _patterns(members: Mapping[str, object], name: str, called: str) -> tuple[tuple[str, ...], bool]:
    inverted = f"Not{name}"
    if (name in members) is (inverted in members):
        raise ValueError(f"{called}: it needs {name} or {inverted}, and not both")
    value = members.get(name, members.get(inverted))
    patterns: Sequence[object] = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else ()
    if not 1 <= len(patterns) <= MAX_PATTERNS:
        raise ValueError(f"{called}: its {name} must be a text or a list of up to {MAX_PATTERNS} texts")
    if not all(isinstance(pattern, str) and 1 <= len(pattern) <= MAX_PATTERN_CHARS for pattern in patterns):
        raise ValueError(f"{called}: its {name} must hold texts of 1 to {MAX_PATTERN_CHARS} characters")
    return tuple(str(pattern) for pattern in patterns), inverted in members


def resource_matches(pattern: str, resource: str) -> bool:
    """Tell whether an ARN is what `pattern` says: part by part, and the parts that a short pattern lacks are any."""
    if pattern == "*":
        return True
    wanted, given = pattern.split(":", ARN_PARTS - 1), resource.split(":", ARN_PARTS - 1)
    wanted += ["*"] * (ARN_PARTS - len(wanted))
    return len(given) == ARN_PARTS and all(map(matches, wanted, given))


def matches(pattern: str, text: str) -> bool:
    """Tell whether `text` is what `pattern` says: `*` is any run of characters, `?` any one of them.

    Only the last `*` is ever tried again, so the work is bounded by the product of both lengths.
    """
    at = place = 0
    star, tried = -1, 0
    while at < len(text):
        if place < len(pattern) and pattern[place] == "*":
            star, tried = place, at
            place += 1
        elif place < len(pattern) and pattern[place] in ("?", text[at]):
            at, place = at + 1, place + 1
        elif star >= 0:
            tried += 1
            at, place = tried, star + 1
        else:
            return False
    return not pattern[place:].strip("*")
