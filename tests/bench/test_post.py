from bench.post import post


async def test_every_post_that_was_answered_arrived_through_either_node() -> None:
    report = await post(size=64, seconds=1, sockets=8)
    assert not report.faults
    assert len(report.rows) == 3 and all(row[1] > 0 for row in report.rows)
    assert len(report.targets) == 2
