"""A log that comes back without its last entries: whoever had seen them is told exactly which, and goes on.

The embedded engine's files are put back to an earlier state under a running node, as a restored backup or a replica
promoted behind its primary would do. A follower that stays connected, one that comes back, and one that comes new each
get the truth (DESIGN 4; seen elsewhere: "recovered" while messages were gone).
"""

import asyncio
import os
import shutil
import signal
from pathlib import Path

import nodes
import pytest
from nodes import Node

from headrace import Client, Gap, Message, Position, Range, Recovery

TOPIC = "default/ledger"
KEPT, GONE = 20, 7


def client(node: Node) -> Client:
    return Client([node.url], token=node.token)


async def publish(node: Node, words: list[str]) -> list[Position]:
    async with client(node) as publisher:
        return [(await publisher.publish(TOPIC, text=word)).position for word in words]


def freeze_copy(node: Node, copy: Path) -> None:
    """Copy the engine's files as they are now; every acknowledged publish is in them."""
    shutil.copytree(node.data / "appendonlydir", copy)


def put_back(node: Node, copy: Path) -> None:
    """Give the engine its earlier files while the node, which would start it again, looks away."""
    os.kill(node.pid, signal.SIGSTOP)
    try:
        node.kill_engine()
        files = node.data / "appendonlydir"
        shutil.rmtree(files)
        shutil.copytree(copy, files)
    finally:
        os.kill(node.pid, signal.SIGCONT)


@pytest.mark.timeout(120)
async def test_everyone_is_told_what_a_restored_log_has_lost(tmp_path: Path) -> None:
    with nodes.node() as node:
        async with client(node) as staying, asyncio.timeout(60):
            await publish(node, [f"kept {n}" for n in range(KEPT)])
            await asyncio.to_thread(freeze_copy, node, tmp_path / "copy")
            subscription = staying.subscribe(TOPIC, since="earliest")
            events = subscription.events()
            places = await publish(node, [f"gone {n}" for n in range(GONE)])
            seen = [await anext(events) for _ in range(KEPT + GONE)]
            assert all(isinstance(event, Message) for event in seen)

            await asyncio.to_thread(put_back, node, tmp_path / "copy")
            lost = (Range(places[0].epoch, places[0].offset, places[-1].offset),)
            after = await publish(node, ["after 0", "after 1"])

            gap = await anext(events)
            assert isinstance(gap, Gap)
            assert (gap.recovery, gap.missing) == (Recovery.ROLLED_BACK, lost), "who stayed connected"
            assert [(await anext(events)).text for _ in after] == ["after 0", "after 1"]  # type: ignore[union-attr]
            assert after[0].offset == places[0].offset, "offsets go on from the log's real end"
            assert after[0].epoch > places[0].epoch

            async with client(node) as returning:
                back = returning.subscribe(TOPIC, since=places[-1]).events()
                gap = await anext(back)
                assert isinstance(gap, Gap)
                assert (gap.recovery, gap.missing) == (Recovery.ROLLED_BACK, lost), "who comes back"
                assert [(await anext(back)).text for _ in after] == ["after 0", "after 1"]  # type: ignore[union-attr]

            async with client(node) as arriving:
                fresh = arriving.subscribe(TOPIC, since="earliest").events()
                texts = [(await anext(fresh)).text for _ in range(KEPT + 2)]  # type: ignore[union-attr]
                assert texts == [*(f"kept {n}" for n in range(KEPT)), "after 0", "after 1"]
