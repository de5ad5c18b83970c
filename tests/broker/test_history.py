"""What deleted topics had brought stays with their project."""

from broker.history import History
from broker.names import ProjectName
from broker.store.records_memory import MemoryRecords

P, Q = ProjectName("p"), ProjectName("q")


async def test_days_are_added_until_the_project_goes() -> None:
    history = History(MemoryRecords(now_ms=lambda: 0))
    assert await history.days(P) == {}
    await history.add(P, {5: 2, 6: 1})
    await history.add(P, {6: 3, 1: 1})
    await history.add(P, {})
    assert (await history.days(P), await history.days(Q)) == ({1: 1, 5: 2, 6: 4}, {})
    await history.forget(P)
    assert await history.days(P) == {}
