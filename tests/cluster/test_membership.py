"""Who is gone, in scripted time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.membership import MAX_TEXT_CHARS, Advertised, Lease, Member, Membership, preferred, read_lease

LEASE = 5.0


def watching() -> Membership:
    return Membership(lease_seconds=LEASE)


def value(beat: int, nonce: str = "a", **told: object) -> bytes:
    return Lease(nonce, beat, Advertised(**told)).packed()  # type: ignore[arg-type]


def read(membership: Membership, at: float, *, took: float = 0.0, **values: bytes) -> list[str]:
    return sorted(membership.observe(values, asked=at, answered=at + took))


def test_a_node_that_renews_is_there() -> None:
    membership = watching()
    for second in range(100):
        assert read(membership, second, n=value(second // 4)) == []
    assert [member.node for member in membership.members()] == ["n"]


def test_a_node_that_does_not_renew_for_a_lease_is_gone_and_no_sooner() -> None:
    membership = watching()
    for second in range(5):
        assert read(membership, second, n=value(1), m=value(second)) == []
        assert len(membership.members()) == 2
    assert read(membership, 4.99, n=value(1), m=value(5)) == []
    assert read(membership, 5, n=value(1), m=value(6)) == ["n"]
    assert [member.node for member in membership.members()] == ["m"]
    assert membership.observe({"n": value(1)}, asked=6, answered=6) == {"n": value(1)}


def test_one_that_stirs_again_is_there_again() -> None:
    membership = watching()
    for second in range(7):
        read(membership, second, n=value(1))
    assert membership.members() == ()
    assert read(membership, 7, n=value(2)) == []
    assert len(membership.members()) == 1


def test_the_time_counts_from_the_first_answer_to_the_last_question() -> None:
    membership = watching()
    assert read(membership, 0, took=2, n=value(1)) == []
    assert read(membership, 4, took=1, n=value(1)) == []
    assert read(membership, 6.9, took=1, n=value(1)) == [], "what the answer took is not the node's silence"
    assert read(membership, 8, took=0, n=value(1)) == ["n"]


@pytest.mark.parametrize(("gap", "gone"), [(2.5, ["n"]), (2.6, [])])
def test_an_observer_that_was_out_of_contact_begins_again(gap: float, gone: list[str]) -> None:
    membership = watching()
    for second in range(5):
        read(membership, second, n=value(1))
    assert read(membership, 4 + gap, n=value(1)) == gone
    if not gone:
        at = 4 + gap
        assert read(membership, at + 2, n=value(1)) == []
        assert read(membership, at + 4, n=value(1)) == []
        assert read(membership, at + 5, n=value(1)) == ["n"]


def test_a_slow_answer_is_contact() -> None:
    membership = watching()
    read(membership, 0, n=value(1))
    read(membership, 2, took=4, n=value(1))
    assert read(membership, 6.5, n=value(1)) == ["n"]


def test_a_node_that_left_and_came_back_begins_again() -> None:
    membership = watching()
    for second in range(4):
        read(membership, second, n=value(1))
    read(membership, 4)
    assert membership.members() == ()
    assert read(membership, 5, n=value(1)) == []
    assert read(membership, 7, n=value(1)) == []


def test_a_value_that_went_back_after_a_failover_counts_as_a_change() -> None:
    membership = watching()
    for second in range(4):
        read(membership, second, n=value(9))
    assert read(membership, 4, n=value(8)) == []
    assert read(membership, 6, n=value(8)) == []


def test_what_cannot_be_read_is_no_member_but_ends_too() -> None:
    membership = watching()
    for second in range(5):
        assert read(membership, second, n=b"rubbish") == []
        assert membership.members() == ()
    assert read(membership, 5, n=b"rubbish") == ["n"]


def test_a_lease_goes_both_ways() -> None:
    told = Advertised(name="n", url="http://h:1", weight=3, version="1.0", load=17, draining=True)
    lease = Lease("abc", 7, told)
    assert read_lease(lease.packed()) == lease
    assert lease.renewed(told) == Lease("abc", 8, told)
    membership = watching()
    read(membership, 0, n=lease.packed())
    assert membership.members() == (Member("n", told),)


@pytest.mark.parametrize("text", [b"", b"a", b"a 1", b"a x {}", b"a 1 []", b"a 1 {", b"\xff 1 {}"])
def test_a_malformed_lease_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        read_lease(text)


def test_another_versions_lease_is_read_as_far_as_it_is_known() -> None:
    lease = read_lease(b'a 1 {"name":"n","colour":"red","weight":"heavy","draining":1,"url":"%s"}' % (b"u" * 600))
    assert lease.advertised == Advertised(name="n", url="u" * MAX_TEXT_CHARS)


def test_jobs_are_spread_and_only_those_of_a_node_that_goes_move() -> None:
    three = [Member(node, Advertised()) for node in ("a", "b", "c")]
    before = {job: preferred(job, three) for job in map(str, range(300))}
    shares = [list(before.values()).count(node) for node in ("a", "b", "c")]
    assert min(shares) > 60
    assert before == {job: preferred(job, reversed(three)) for job in before}
    after = {job: preferred(job, three[1:]) for job in before}
    assert all(after[job] == node for job, node in before.items() if node != "a")
    draining = [Member("a", Advertised(draining=True)), *three[1:]]
    assert {job: preferred(job, draining) for job in before} == after
    assert preferred("job", []) is None


@given(st.lists(st.tuples(st.floats(0, 4), st.floats(0, 1), st.booleans()), max_size=40))
def test_nobody_is_gone_who_renewed_within_a_lease(steps: list[tuple[float, float, bool]]) -> None:
    """Against a model that knows when the node really renewed."""
    membership, now, beat, renewed = watching(), 0.0, 0, 0.0
    for pause, took, renews in steps:
        now += pause
        gone = membership.observe({"n": value(beat)}, asked=now, answered=now + took)
        if gone:
            assert now - renewed >= LEASE
        if renews:
            # In the middle of nowhere: right after the reading.
            beat, renewed = beat + 1, now
        now += took
