"""What clients are told of the cluster: which servers, and over how long to come back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.membership import Advertised, Member
from cluster.servers import (
    ALONE_SPREAD_MS,
    MAX_SERVERS,
    MAX_SPREAD_MS,
    MAX_WEIGHT,
    Server,
    Told,
    is_news,
    spread_ms,
    told,
)


def node(name: str, **more: object) -> Advertised:
    given = {"name": name, "url": f"http://{name}", "accepts": 1000, **more}
    return Advertised(**given)  # type: ignore[arg-type]


def members(*nodes: Advertised) -> list[Member]:
    return [Member(f"{one.name}.{number}", one) for number, one in enumerate(nodes)]


def urls(said: Told) -> list[str]:
    return [server.url for server in said.servers]


def test_a_node_alone_names_itself_and_leaves_time_to_start() -> None:
    own = node("a", weight=3)
    assert told([], own=own) == Told((Server("http://a", 3),), ALONE_SPREAD_MS)
    assert told(members(own), own=own) == told([], own=own)


def test_a_node_without_a_url_names_the_others_only() -> None:
    own = node("a", url="")
    assert told([], own=own).servers == ()
    assert urls(told(members(own, node("b")), own=own)) == ["http://b"]
    assert urls(told(members(node("b"), node("c", url="")), own=node("b"))) == ["http://b"]


def test_the_list_is_ordered_and_without_those_that_leave() -> None:
    own = node("b")
    assert urls(told(members(node("c"), own, node("a"), node("d", draining=True)), own=own)) == [
        "http://a",
        "http://b",
        "http://c",
    ]
    assert urls(told(members(node("c"), own), own=node("b", draining=True))) == ["http://c"]


def test_a_last_resort_stays_in_the_list() -> None:
    assert told(members(node("b", weight=0)), own=node("a")).servers == (Server("http://a", 1), Server("http://b", 0))


def test_of_the_node_itself_only_what_it_says_now_counts() -> None:
    before, own = node("a", weight=9), node("a", weight=2)
    assert told(members(before, before), own=own).servers == (Server("http://a", 2),)


def test_two_lives_of_another_node_are_one() -> None:
    assert told(members(node("b", weight=5), node("b", weight=5)), own=node("a")).servers[1] == Server("http://b", 5)


def test_two_nodes_of_one_name_are_two_all_the_same() -> None:
    twins = members(node("b"), node("b", url="http://other"))
    assert urls(told(twins, own=node("a"))) == ["http://a", "http://b", "http://other"]


def test_a_share_of_less_than_nothing_is_a_last_resort() -> None:
    assert told(members(node("b", weight=-5)), own=node("a")).servers[1].weight == 0


def test_nodes_behind_one_url_have_their_shares_together() -> None:
    shared = [node(name, url="http://all", weight=400) for name in "bcd"]
    assert told(members(*shared), own=node("a")).servers[1] == Server("http://all", MAX_WEIGHT)
    assert told(members(*shared[:2]), own=node("a")).servers[1] == Server("http://all", 800)


def test_a_large_cluster_is_told_in_parts_that_differ() -> None:
    everybody = [node(f"n{number:03}") for number in range(3 * MAX_SERVERS)]
    lists = [urls(told(members(*everybody), own=own)) for own in everybody[:30]]
    assert {len(listed) for listed in lists} == {MAX_SERVERS}
    assert all(listed == sorted(listed) for listed in lists)
    assert len({url for listed in lists for url in listed}) == len(everybody)


@pytest.mark.parametrize(
    ("load", "accepts", "needed_ms"),
    [(0, [1000], 0), (1, [1000], 1), (500, [1000], 500), (3000, [1000, 500], 2000), (10**6, [1], MAX_SPREAD_MS)],
)
def test_the_spread_is_what_the_others_need(load: int, accepts: list[int], needed_ms: int) -> None:
    survivors = [node(f"s{number}", accepts=rate) for number, rate in enumerate(accepts)]
    assert spread_ms(node("a", load=load), survivors) == needed_ms


def test_a_last_resort_counts_only_when_there_is_no_other() -> None:
    own, spare = node("a", load=3000), node("b", weight=0)
    assert spread_ms(own, [spare, node("c")]) == 3000
    assert spread_ms(own, [spare]) == 3000
    assert spread_ms(own, [spare, node("c", accepts=2000)]) == 1500


def test_a_node_alone_takes_its_own_clients_back() -> None:
    assert spread_ms(node("a", load=9000, accepts=1000), []) == 9000
    assert spread_ms(node("a", load=9, accepts=1000), []) == ALONE_SPREAD_MS


def test_without_rates_the_spread_is_the_usual_one() -> None:
    for nonsense in (0, -5):
        assert spread_ms(node("a", load=9000), [node("b", accepts=nonsense)]) == ALONE_SPREAD_MS


def test_the_spread_leaves_out_who_takes_nobody() -> None:
    own = node("a", load=1000)
    leaving = members(own, node("b"), node("c", draining=True), node("d", url=""))
    assert told(leaving, own=own).spread_ms == 1000


ONE = (Server("http://a", 1),)


@pytest.mark.parametrize(
    ("known", "new", "news"),
    [
        (Told(ONE, 1000), Told(ONE, 1000), False),
        (Told(ONE, 1000), Told((Server("http://a", 2),), 1000), True),
        (Told(ONE, 1000), Told((), 1000), True),
        (Told(ONE, 1000), Told(ONE, 1999), False),
        (Told(ONE, 1000), Told(ONE, 2000), True),
        (Told(ONE, 2000), Told(ONE, 1000), True),
        (Told(ONE, 2000), Told(ONE, 1001), False),
        (Told(ONE, 0), Told(ONE, 499), False),
        (Told(ONE, 0), Told(ONE, 500), True),
    ],
)
def test_what_clients_care_about_is_news(known: Told, new: Told, news: bool) -> None:
    assert is_news(new, known=known) is news


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=40))
def test_a_spread_that_creeps_is_told_seldom(loads: list[int]) -> None:
    known, tellings = Told(ONE, 0), 0
    for load in sorted(loads):
        new = Told(ONE, spread_ms(node("a", load=load), [node("b")]))
        if is_news(new, known=known):
            known, tellings = new, tellings + 1
    assert tellings <= 8, "doubled from half a second to a minute"
