"""`headrace pub` against a real node: in order, counted, and with the truth in its exit status."""

import json
from collections.abc import AsyncIterator, Iterator

import nodes
import pytest
import typer
from nodes import Node

from gateway.commands.publishing import MAX_SHOWN_REASONS, Job, Tally, run
from gateway.commands.target import Target
from gateway.commands.terminal import FAILED
from headrace import Client, Message


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with nodes.node() as running:
        yield running


def target(node: Node) -> Target:
    return Target((node.url,), node.token)


async def chunks(*payloads: bytes) -> AsyncIterator[list[bytes]]:
    yield list(payloads)


async def stored(node: Node, topic: str, count: int) -> list[Message]:
    async with Client(node.url, token=node.token) as client:
        found: list[Message] = []
        async for message in client.subscribe(topic, since="earliest"):
            found.append(message)
            if len(found) == count:
                break
        return found


async def test_payloads_are_stored_in_order_as_what_they_are(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    job = Job("default/kinds", attributes={"colour": "blue"})

    assert await run(target(node), job, chunks(b"a", b"\xff", b""), total_bytes=None, as_json=True) == 0

    found = await stored(node, "default/kinds", 3)
    assert [(m.kind, m.data) for m in found] == [("text", b"a"), ("binary", b"\xff"), ("text", b"")]
    assert found[0].attributes == {"colour": "blue"}
    summary = json.loads(capsys.readouterr().out)
    assert (summary["stored"], summary["failed"]) == (3, 0)
    assert summary["last"] == str(found[-1].position)


async def test_more_than_fits_in_flight_keeps_its_order(node: Node) -> None:
    lines = [b"%d" % number for number in range(25_000)]

    assert await run(target(node), Job("default/many"), chunks(*lines), total_bytes=None, as_json=False) == 0

    assert [m.data for m in await stored(node, "default/many", len(lines))] == lines


async def test_what_is_not_json_is_counted_and_said(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    job = Job("default/values", kind="json")

    assert await run(target(node), job, chunks(b'{"a":1}', b"{", b"2"), total_bytes=None, as_json=False) == FAILED

    assert [m.json() for m in await stored(node, "default/values", 2)] == [{"a": 1}, 2]
    said = capsys.readouterr().err
    assert "1 not stored: not JSON" in said
    assert "2 messages stored in default/values" in said and "1 FAILED" in said


async def test_a_refusal_is_counted_and_said(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run(target(node), Job("no-slash"), chunks(b"a", b"b"), total_bytes=None, as_json=False) == FAILED

    assert "2 not stored" in capsys.readouterr().err


async def test_a_wrong_token_ends_the_command(node: Node) -> None:
    stranger = Target((node.url,), "not-the-token")

    with pytest.raises(typer.Exit):
        await run(stranger, Job("default/kinds"), chunks(b"a"), total_bytes=None, as_json=False)


def test_only_some_reasons_are_spelled_out() -> None:
    tally = Tally()
    for number in range(3 * MAX_SHOWN_REASONS):
        tally.refuse(f"reason {number}")
        tally.refuse("reason 0")

    assert tally.failed == 6 * MAX_SHOWN_REASONS
    assert len(tally.reasons) == MAX_SHOWN_REASONS
    assert tally.reasons["reason 0"] == 3 * MAX_SHOWN_REASONS + 1
