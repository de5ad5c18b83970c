import json
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.failover import (
    MAX_PENALTY,
    Attempt,
    Failover,
    Schedule,
    Server,
    Verdict,
    checked_server,
    verdict_of_close,
    verdict_of_status,
)

VECTORS = json.loads((Path(__file__).parents[3] / "protocol" / "failover-vectors.json").read_text())
A, B, C = "http://a", "http://b", "http://c"


def server_of(given: str | dict[str, object]) -> str | Server:
    return given if isinstance(given, str) else Server(given["url"], given["weight"])


def schedule_of(given: dict[str, int]) -> Schedule:
    return Schedule(**{f"{name}_s": value / 1000 for name, value in given.items()})


def take(failover: Failover, step: dict[str, object]) -> None:
    """Do one step of a scenario; times there are milliseconds."""
    now = step.get("now", 0) / 1000
    match step["do"]:
        case "next":
            attempt = failover.next(now)
            found = (None, None) if attempt is None else (attempt.server, pytest.approx(attempt.at * 1000))
            assert found == (step["server"], step.get("at"))
        case "another":
            assert failover.another(now, besides=step["besides"]) == step["server"]
        case "failed":
            failover.failed(step["server"], now, retry_after_s=step.get("retry_after", 0) / 1000)
        case "ended":
            spread_s = None if step["spread"] is None else step["spread"] / 1000
            failover.ended(step["server"], now, lasted_s=step["lasted"] / 1000, spread_s=spread_s)
        case "learn":
            failover.learn([server_of(server) for server in step["servers"]], server=step["server"])
        case "drained":
            failover.drained(step["server"], spread_s=step["spread"] / 1000)
        case "refused":
            failover.refused(step["server"])
        case "network_up":
            failover.network_up()
        case unknown:
            raise AssertionError(unknown)


@pytest.mark.parametrize("scenario", VECTORS["scenarios"], ids=lambda scenario: scenario["name"])
def test_scenarios(scenario) -> None:
    draws = iter(scenario["draws"])
    failover = Failover(
        [server_of(server) for server in scenario["servers"]],
        draw=lambda: next(draws),
        schedule=schedule_of(scenario["schedule"]) if "schedule" in scenario else None,
    )
    for step in scenario["steps"]:
        take(failover, step)
    assert list(failover.servers) == scenario["known"]
    assert list(draws) == []


@pytest.mark.parametrize("case", VECTORS["fits"], ids=lambda case: str(case["retention"]))
def test_a_log_must_outlast_an_absence_twice(case) -> None:
    assert schedule_of(case["schedule"]).fits(case["retention"] / 1000) is case["fits"]


@pytest.mark.parametrize("url", VECTORS["urls"])
def test_a_server_is_a_base_url(url) -> None:
    assert checked_server(url) == url.rstrip("/")


@pytest.mark.parametrize("url", VECTORS["invalid_urls"])
def test_without_a_secret(url) -> None:
    with pytest.raises(ValueError) as caught:
        checked_server(url)
    assert "p@a" not in str(caught.value) and "=x" not in str(caught.value)


@given(count=st.integers(2, 8), seed=st.integers(0, 10_000), cycles=st.integers(1, 4))
def test_every_server_is_tried_before_any_is_tried_again(count, seed, cycles) -> None:
    servers = [f"http://{number}" for number in range(count)]
    failover = Failover(servers, draw=Random(seed).random)
    last = ""
    for _ in range(cycles):
        cycle = []
        for _ in servers:
            attempt = failover.next(0)
            assert attempt and attempt.server != last
            last = attempt.server
            failover.failed(last, 0)
            cycle.append(last)
        assert sorted(cycle) == servers


@given(seed=st.integers(0, 10_000), failures=st.integers(0, 60), spread_s=st.one_of(st.none(), st.floats(0, 60)))
def test_no_delay_is_longer_than_it_may_be(seed, failures, spread_s) -> None:
    failover = Failover([A], draw=Random(seed).random)
    failover.ended(A, 60.0, lasted_s=60, spread_s=spread_s)
    for failure in range(failures + 1):
        attempt = failover.next(60.0)
        most = max(0.1, 2 if spread_s is None else spread_s) if failure == 0 else min(20, 2**failure)
        assert attempt and 60.0 <= attempt.at <= 60.0 + most
        failover.failed(A, 60.0)


def test_first_choices_follow_the_weights() -> None:
    random = Random(1)
    servers = [Server(A, 1), Server(B, 3), Server(C, 0)]
    first = Counter(attempt.server for _ in range(4000) if (attempt := Failover(servers, draw=random.random).next(0)))
    assert first[C] == 0
    assert first[B] / first[A] == pytest.approx(3, rel=0.15)


def test_a_server_that_always_fails_keeps_a_part_of_its_weight() -> None:
    draws = iter([0.5 / (2**MAX_PENALTY + 1), 0.0] * 2)
    failover = Failover([A, B, C], draw=lambda: next(draws))
    for _ in range(100):
        failover.failed(A, 0)
    failover.failed(C, 0)
    failover.failed(B, 0)
    assert failover.next(0) == Attempt(A, 0)


def test_a_list_is_taken_in_part_only() -> None:
    failover = Failover([A], draw=lambda: 0.0)
    failover.learn([Server(f"http://{number}", 1) for number in range(1000)], server=A)
    assert len(failover.servers) == 101


@pytest.mark.parametrize("servers", [[], [Server(A, -1)], [Server(A, float("nan"))], [Server(A, float("inf"))]])
def test_what_is_no_list_of_servers_is_refused(servers) -> None:
    with pytest.raises(ValueError):
        Failover(servers, draw=lambda: 0.0)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (401, Verdict.FRESH_TOKEN),
        (400, Verdict.NEVER_THERE),
        (403, Verdict.NEVER_THERE),
        (404, Verdict.NEVER_THERE),
        (426, Verdict.COME_BACK),
        (429, Verdict.COME_BACK),
        (502, Verdict.COME_BACK),
        (503, Verdict.COME_BACK),
    ],
)
def test_http_answers(status, verdict) -> None:
    assert verdict_of_status(status) is verdict


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (None, Verdict.COME_BACK),
        (1000, Verdict.COME_BACK),
        (1012, Verdict.COME_BACK),
        (1009, Verdict.NEVER),
        (4001, Verdict.COME_BACK),
        (4499, Verdict.COME_BACK),
        (4500, Verdict.FRESH_TOKEN),
        (4501, Verdict.FRESH_TOKEN),
        (4502, Verdict.NEVER),
        (4999, Verdict.NEVER),
        (5000, Verdict.COME_BACK),
    ],
)
def test_close_codes(code, verdict) -> None:
    assert verdict_of_close(code) is verdict
