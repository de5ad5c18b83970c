"""Records: what was known of a connection comes back as it was, whichever version wrote it."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.apigateway.cluster.records import KIND, packed, packed_standing, read_record, read_standing
from gateway.apigateway.ports import Facts, Standing
from gateway.peers import kind_of

WORDS = st.text(max_size=20)
TAGS = st.dictionaries(WORDS, WORDS, max_size=3)
CONTEXT = st.dictionaries(WORDS, st.one_of(WORDS, st.booleans(), st.integers(-(2**53), 2**53)), max_size=3)
FACTS = st.builds(
    Facts,
    id=WORDS,
    api=WORDS,
    stage=WORDS,
    connected_at_ms=st.integers(0, 2**53),
    source_ip=WORDS,
    user_agent=st.none() | WORDS,
    domain_name=WORDS,
    principal_id=st.none() | WORDS,
    authorizer=st.none() | CONTEXT,
    user=st.none() | WORDS,
    tags=TAGS,
    expires_ms=st.none() | st.integers(0, 2**53),
)


@given(FACTS)
def test_facts_come_back_as_they_were(facts: Facts) -> None:
    record = packed(facts)
    assert kind_of(record) == KIND
    assert read_record(record) == facts


@given(FACTS, st.integers(0, 2**53))
def test_a_standing_comes_back_as_it_was(facts: Facts, last: int) -> None:
    standing = Standing(facts=facts, last_active_at_ms=last)
    assert read_standing(packed_standing(standing)) == standing


MINIMAL = {
    "id": "i",
    "api": "a",
    "stage": "s",
    "connected_at_ms": 1,
    "source_ip": "192.0.2.1",
    "user_agent": None,
    "domain_name": "d",
}


def test_members_of_other_versions_are_passed_over_or_have_their_default() -> None:
    facts = read_record(msgpack.packb({**MINIMAL, "kind": KIND, "mood": "good"}))
    assert facts == Facts(**MINIMAL)  # type: ignore[arg-type]
    assert facts.tags == {}


@pytest.mark.parametrize("strange", [b"", b"\xc1", msgpack.packb([1]), msgpack.packb({"id": "i"}), b"{}"])
def test_what_is_no_record_is_refused(strange: bytes) -> None:
    with pytest.raises(ValueError, match="record"):
        read_record(strange)


def test_a_standing_has_its_time() -> None:
    with pytest.raises(ValueError, match="activity"):
        read_standing(msgpack.packb(MINIMAL))
