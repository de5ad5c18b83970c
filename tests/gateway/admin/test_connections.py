"""The rows of connections in the reference."""

from gateway.admin.connections import CONNECTION_OPERATIONS
from gateway.admin.openapi import REFUSALS


def test_each_call_stands_once_and_explains_its_refusals() -> None:
    calls = [operation.call for operation in CONNECTION_OPERATIONS]
    assert len(calls) == len(set(calls))
    assert {status for operation in CONNECTION_OPERATIONS for status in operation.refusals} <= REFUSALS.keys()


def test_what_takes_or_gives_json_shows_it() -> None:
    for operation in CONNECTION_OPERATIONS:
        if operation.call.startswith("GET "):
            assert operation.answer is not None, operation.call
        elif "headrace" in operation.call and operation.call.startswith("POST "):
            assert operation.body is not None, operation.call
