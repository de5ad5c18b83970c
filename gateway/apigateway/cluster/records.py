"""A connection's facts as bytes: in the directory, where a survivor finds them, and between nodes. Pure.

A record is a msgpack map; `kind` says whose it is, `node` who owned it. Members that a newer version adds are passed
over, missing ones have their default.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import msgpack

from gateway.apigateway.ports import Facts, Standing

KIND = "apigateway"
"""Of this room's records in the directory (`gateway.peers`)."""

_NAMES = tuple(field.name for field in fields(Facts))


def packed(facts: Facts) -> bytes:
    """Return the record of a connection."""
    return bytes(msgpack.packb({"kind": KIND, **_plain(facts)}))


def read_record(record: bytes) -> Facts:
    """Read what `packed` wrote. Raises `ValueError`."""
    return _facts(_map(record))


def packed_standing(standing: Standing) -> bytes:
    return bytes(msgpack.packb({**_plain(standing.facts), "last_active_at_ms": standing.last_active_at_ms}))


def read_standing(data: bytes) -> Standing:
    """Read what `packed_standing` wrote. Raises `ValueError`."""
    told = _map(data)
    last = told.get("last_active_at_ms")
    if not isinstance(last, int):
        raise ValueError("the time of the last activity is missing")
    return Standing(facts=_facts(told), last_active_at_ms=last)


def _plain(facts: Facts) -> dict[str, object]:
    told = {name: getattr(facts, name) for name in _NAMES}
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in told.items()}


def _map(data: bytes) -> dict[str, Any]:
    try:
        told = msgpack.unpackb(data)
    except Exception as error:
        # What msgpack raises is not said to be complete.
        raise ValueError("not a record") from error
    if not isinstance(told, dict):
        raise ValueError("not a record")
    return told


def _facts(told: Mapping[str, Any]) -> Facts:
    try:
        return Facts(**{name: told[name] for name in _NAMES if name in told})
    except TypeError as error:
        raise ValueError("a record lacks a member") from error
