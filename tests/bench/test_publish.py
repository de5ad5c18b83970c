from bench.publish import publish


async def test_every_publish_is_acknowledged_once_and_in_order() -> None:
    report = await publish(size=64, seconds=1)
    assert not report.faults
    assert len(report.rows) == 5 and all(row[1] > 0 for row in report.rows)
