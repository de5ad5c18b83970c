"""The bench on a real node, small: it must see everything arrive, and say so when something does not."""

from bench.fanout import Run, fanout


async def test_a_small_crowd_gets_everything() -> None:
    report = await fanout(sockets=5, size=64, rate=100, seconds=1, steps=1)
    assert not report.faults
    assert [row[0] for row in report.rows][:2] == ["raw writes one by one", "steady"]
    assert len(report.targets) == 2


def test_a_rate_holds_only_without_backlog() -> None:
    held = Run(rate=100, seconds=1, published=100, lags=[0.01] * 30)
    late = Run(rate=100, seconds=1, published=100, lags=[0.01] * 20 + [0.9] * 10)
    short = Run(rate=100, seconds=1, published=50, lags=[0.01] * 30)
    assert (held.held, late.held, short.held) == (True, False, False)
