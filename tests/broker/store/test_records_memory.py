"""The memory form alone: what it adds to the port is nothing, `test_records.py` holds it to the port."""

from broker.names import ProjectName
from broker.store.records import Change
from broker.store.records_memory import MemoryRecords


async def test_a_listing_is_a_copy() -> None:
    records = MemoryRecords(now_ms=lambda: 7)
    await records.commit(ProjectName("p"), [Change("a", "1", None, b"one")])
    listed = await records.all(ProjectName("p"), "a")
    await records.commit(ProjectName("p"), [Change("a", "1", b"one", None)])
    assert listed == {"1": b"one"}
    assert await records.now_ms() == 7
