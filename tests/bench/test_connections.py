from bench.connections import connections


async def test_idle_connections_cost_memory_and_still_hear() -> None:
    report = await connections(count=300)
    assert not report.faults
    assert [row[1] for row in report.rows] == [300, 300]
