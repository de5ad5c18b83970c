"""What is asked of nodes about many connections, and how their answers add up."""

import pytest

from broker.errors import InvalidRequest
from gateway.apigateway.beyond import deeds
from gateway.apigateway.beyond.criteria import Criteria
from gateway.apigateway.beyond.deeds import CLOSE, POST, Deed, Tally, Target, packed_deed, read_deed
from gateway.apigateway.cluster.letters import pack


@pytest.mark.parametrize(
    "target",
    [Target(ids=["a", "b"]), Target(ids=[]), Target(criteria=Criteria(user="alice", tags={"room": "7"}))],
)
@pytest.mark.parametrize(
    "deed",
    [
        Deed(kind=POST, data=b"\xff", invocation="i"),
        Deed(kind=CLOSE, code=4000, reason="bye"),
        Deed(kind="join", group="p/t"),
    ],
)
def test_a_deed_travels_as_it_is(target: Target, deed: Deed) -> None:
    assert read_deed(packed_deed(target, deed)) == (target, deed)


@pytest.mark.parametrize("strange", [b"", b"\xc1", pack([1]), pack({}), pack({"ids": None, "to": {"user": 7}})])
def test_what_no_node_wrote_is_refused(strange: bytes) -> None:
    with pytest.raises((ValueError, LookupError, TypeError, InvalidRequest)):
        read_deed(strange)


def test_outcomes_add_up_and_the_first_failures_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deeds, "MAX_NAMED", 3)
    tally = Tally()
    tally.add(5, 1, {"a": "gone"})
    tally.miss(["b", "c", "d", "e"], "unavailable")
    tally.add(1, 1, {"f": "gone"})
    assert (tally.done, tally.not_done) == (6, 6)
    assert tally.failed == {"a": "gone", "b": "unavailable", "c": "unavailable"}
    assert tally.plain() == [6, 6, tally.failed]
