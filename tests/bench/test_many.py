from bench.many import many


async def test_every_way_reaches_every_connection() -> None:
    report = await many(count=30, size=64, rounds=2)
    assert not report.faults
    assert [row[1] for row in report.rows] == [30] * 4
    assert len(report.targets) == 3
