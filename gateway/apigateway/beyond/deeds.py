"""What one call does to many connections, and what became of it, on one node or over all. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.apigateway.beyond.criteria import Criteria, read_criteria
from gateway.apigateway.cluster.letters import pack, unpack

MAX_NAMED = 10_000
"""Connections that an answer names as failed; above that they are counted."""

POST, CLOSE, JOIN, LEAVE = "post", "close", "join", "leave"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Whom a call is about: the connections with these ids, or those that fit."""

    ids: Sequence[str] | None = None
    criteria: Criteria | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What is done to each."""

    kind: str
    """`POST` (`data`, `invocation`), `CLOSE` (`code`, `reason`), `JOIN` and `LEAVE` (`group`)."""
    data: bytes = b""
    invocation: str | None = None
    code: int = 1000
    reason: str = ""
    group: str = ""


@dataclass(slots=True)
class Tally:
    """What became of it, added up over the nodes."""

    done: int = 0
    not_done: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """By connection why not, for the first `MAX_NAMED`."""
    unreached: list[str] = field(default_factory=list)
    """Nodes that did not answer about connections that only they know."""

    def add(self, done: int, not_done: int, failed: Mapping[str, str]) -> None:
        self.done += done
        self.not_done += not_done
        room = MAX_NAMED - len(self.failed)
        self.failed.update(list(failed.items())[:room] if len(failed) > room else failed)

    def miss(self, ids: Sequence[str], code: str) -> None:
        """The connections with these ids were not reached."""
        self.add(0, len(ids), dict.fromkeys(ids[:MAX_NAMED], code))

    def plain(self) -> list[object]:
        return [self.done, self.not_done, self.failed]


def packed_deed(target: Target, deed: Deed) -> bytes:
    return pack(
        {
            "ids": None if target.ids is None else list(target.ids),
            "to": None if target.criteria is None else target.criteria.plain(),
            "kind": deed.kind,
            "data": deed.data,
            "invocation": deed.invocation,
            "code": deed.code,
            "reason": deed.reason,
            "group": deed.group,
        }
    )


def read_deed(body: bytes) -> tuple[Target, Deed]:
    """Read what `packed_deed` wrote. Raises `ValueError`, `LookupError`, `TypeError`."""
    told = unpack(body, dict)
    to = told.get("to")
    return Target(ids=told["ids"], criteria=None if to is None else read_criteria(to)), Deed(
        kind=told["kind"],
        data=told["data"],
        invocation=told["invocation"],
        code=told["code"],
        reason=told["reason"],
        group=told["group"],
    )
