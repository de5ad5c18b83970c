"""The rows of the reference."""

from gateway.admin.openapi import REFUSALS
from gateway.admin.operations import OPERATIONS


def test_each_call_stands_once() -> None:
    calls = [operation.call for operation in OPERATIONS]
    assert len(calls) == len(set(calls))


def test_every_refusal_is_explained() -> None:
    assert {status for operation in OPERATIONS for status in operation.refusals} <= REFUSALS.keys()


def test_what_takes_or_gives_json_shows_it() -> None:
    for operation in OPERATIONS:
        if operation.call.startswith("GET "):
            assert operation.body is None, operation.call
            assert operation.answer is not None, operation.call
