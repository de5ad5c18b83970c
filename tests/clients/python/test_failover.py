from random import Random

import pytest

from headrace.failover import Attempt, Failover, Verdict, checked_server, verdict_of_close, verdict_of_status


class Fixed(Random):
    """Every random number is the same part of its range."""

    def __init__(self, part: float) -> None:
        super().__init__(0)
        self._part = part

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self._part


def servers_of(failover: Failover, count: int) -> list[str]:
    attempts = [failover.next(0) for _ in range(count)]
    return [attempt.server for attempt in attempts if attempt]


def test_every_server_is_tried_before_any_is_tried_again() -> None:
    failover = Failover(["http://a", "http://b/", "http://c", "http://a"], random=Random(1))
    for _ in range(20):
        assert sorted(servers_of(failover, 3)) == ["http://a", "http://b", "http://c"]


def test_the_order_differs_between_clients() -> None:
    servers = [f"http://{letter}" for letter in "abcdef"]
    orders = {tuple(servers_of(Failover(servers, random=Random(seed)), 6)) for seed in range(20)}
    assert len(orders) > 10


def test_the_server_that_broke_comes_last() -> None:
    failover = Failover(["http://a", "http://b", "http://c"], random=Random(1))
    failover.ended("http://b", lasted_s=60, code=None, spread_ms=0)
    assert servers_of(failover, 3)[-1] == "http://b"


def test_the_first_try_is_at_once_and_later_ones_wait_up_to_five_seconds() -> None:
    failover = Failover(["http://a"], random=Fixed(1.0))
    failover.ended("http://a", lasted_s=60, code=None, spread_ms=0)
    delays = []
    for _ in range(9):
        attempt = failover.next(100.0)
        assert attempt
        delays.append(round(attempt.at - 100, 6))
        failover.failed("http://a", 100.0)
    assert delays == [0, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5]


def test_a_node_that_lets_go_at_once_counts_as_a_failure() -> None:
    failover = Failover(["http://a"], random=Fixed(1.0))
    failover.ended("http://a", lasted_s=0.1, code=4000, spread_ms=0)
    assert failover.next(0) == Attempt("http://a", 0.2)


@pytest.mark.parametrize(("code", "delay"), [(1012, 4.0), (None, 0.5), (1001, 0.5)])
def test_the_spread_is_the_nodes_wish(code, delay) -> None:
    failover = Failover(["http://a"], random=Fixed(0.5))
    failover.ended("http://a", lasted_s=60, code=code, spread_ms=8000)
    assert failover.next(0) == Attempt("http://a", delay)


def test_retry_after_is_kept_within_reason() -> None:
    failover = Failover(["http://a"], random=Fixed(0.0))
    failover.failed("http://a", 10.0, retry_after_s=7)
    assert failover.next(10.0) == Attempt("http://a", 17.0)
    failover.failed("http://a", 10.0, retry_after_s=10**6)
    assert failover.next(10.0) == Attempt("http://a", 70.0)
    assert failover.next(10.0) == Attempt("http://a", 10.0)


def test_a_server_that_refused_for_good_is_not_tried_again() -> None:
    failover = Failover(["http://a", "http://b"], random=Random(1))
    failover.refused("http://a")
    assert servers_of(failover, 3) == ["http://b"] * 3
    failover.refused("http://b")
    assert failover.next(0) is None


def test_servers_of_a_welcome_are_taken_over_but_never_to_a_lower_security() -> None:
    failover = Failover(["https://a"], random=Random(1))
    failover.learn(["http://b", "https://c/", "nonsense", "https://user:pw@d"], server="https://a")
    assert failover.servers == ("https://a", "https://c")
    failover.learn([], server="https://a")
    assert failover.servers == ("https://a", "https://c")
    plain = Failover(["http://a"], random=Random(1))
    plain.learn(["http://b"], server="http://a")
    assert plain.servers == ("http://a", "http://b")


@pytest.mark.parametrize("url", ["", "a:80", "ftp://a", "http://", "http://u:p@a", "http://a?token=x", "http://a#x"])
def test_a_server_is_a_base_url_without_a_secret(url) -> None:
    with pytest.raises(ValueError) as caught:
        checked_server(url)
    assert "p@a" not in str(caught.value) and "=x" not in str(caught.value)


def test_at_least_one_server_is_needed() -> None:
    with pytest.raises(ValueError):
        Failover([], random=Random(1))


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


def test_a_refused_server_leaves_the_round_that_is_under_way() -> None:
    failover = Failover(["http://a", "http://b", "http://c"], random=Random(1))
    failover.ended("http://a", lasted_s=60, code=None, spread_ms=0)
    first, second = servers_of(failover, 1)[0], {"http://b", "http://c"}
    failover.refused(*(second - {first}))
    assert servers_of(failover, 1) == ["http://a"]
