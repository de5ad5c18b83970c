"""What nodes ask of each other about connections, as msgpack. Pure.

A letter may hold many posts; its answer has one outcome for each, in the same order. Elements and members that a newer
version adds are passed over. Readers raise `ValueError` on what no node of ours wrote.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from broker.errors import HeadraceError
from cluster.letters import refusal_of
from gateway.apigateway.ports import Stage


@dataclass(frozen=True, slots=True)
class Post:
    """One message to one connection."""

    connection: str
    data: bytes
    invocation: str
    """Under which it is written once, however often it comes."""
    within: Stage | None = None


def packed_posts(posts: Sequence[Post]) -> bytes:
    return pack([[post.connection, post.data, post.invocation, _plain(post.within)] for post in posts])


def read_posts(data: bytes) -> list[Post]:
    try:
        return [Post(row[0], row[1], row[2], _stage(row[3])) for row in unpack(data, list)]
    except (TypeError, LookupError) as error:
        raise ValueError("not a letter of posts") from error


def packed_outcomes(outcomes: Sequence[HeadraceError | None]) -> bytes:
    return pack([None if one is None else [one.code, one.reason, one.retry_ms] for one in outcomes])


def read_outcomes(data: bytes) -> list[HeadraceError | None]:
    """Return for each post None where it was written, else why not."""
    try:
        return [None if row is None else refusal_of(row[0], row[1], row[2]) for row in unpack(data, list)]
    except (TypeError, LookupError) as error:
        raise ValueError("not an answer to posts") from error


def packed_question(within: Stage | None, **members: object) -> bytes:
    """Return any other question, as a map."""
    return pack({**members, "within": _plain(within)})


def read_question(data: bytes) -> tuple[dict[str, Any], Stage | None]:
    told: dict[str, Any] = unpack(data, dict)
    return told, _stage(told.get("within"))


def pack(value: list[Any] | Mapping[str, Any]) -> bytes:
    return bytes(msgpack.packb(value))


def unpack(data: bytes, kind: type[Any]) -> Any:
    """Return a list or map. Raises `ValueError`."""
    try:
        told = msgpack.unpackb(data)
    except Exception as error:
        # What msgpack raises is not said to be complete.
        raise ValueError("not msgpack") from error
    if not isinstance(told, kind):
        raise ValueError(f"not a {kind.__name__}")
    return told


def _plain(within: Stage | None) -> list[str] | None:
    return None if within is None else [within.api, within.name]


def _stage(told: Any) -> Stage | None:
    return None if told is None else Stage(told[0], told[1])
