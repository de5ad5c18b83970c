"""Letters between nodes come back as they were, refusals with their class."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import HeadraceError, Unavailable
from gateway.apigateway.cluster.letters import (
    Post,
    packed_outcomes,
    packed_posts,
    packed_question,
    read_outcomes,
    read_posts,
    read_question,
)
from gateway.apigateway.errors import BufferFull, Gone
from gateway.apigateway.ports import Stage

WORDS = st.text(max_size=20)
STAGES = st.none() | st.builds(Stage, WORDS, WORDS)
POSTS = st.lists(st.builds(Post, WORDS, st.binary(max_size=50), WORDS, STAGES), max_size=5)


@given(POSTS)
def test_posts_come_back_as_they_were(posts: list[Post]) -> None:
    assert read_posts(packed_posts(posts)) == posts


def test_outcomes_come_back_with_their_class() -> None:
    given_: list[HeadraceError | None] = [None, Gone(), BufferFull("full"), Unavailable("away", retry_ms=7)]
    read = read_outcomes(packed_outcomes(given_))
    assert [type(outcome) for outcome in read] == [type(None), Gone, BufferFull, Unavailable]
    assert [str(outcome) for outcome in read] == [str(outcome) for outcome in given_]
    assert read[3] is not None
    assert read[3].retry_ms == 7


@given(STAGES, st.dictionaries(st.sampled_from(["connection", "code"]), WORDS))
def test_questions_come_back_as_they_were(within: Stage | None, members: dict[str, str]) -> None:
    told, stage = read_question(packed_question(within, **members))
    assert stage == within
    assert {name: told[name] for name in members} == members


@pytest.mark.parametrize("strange", [b"", b"\xc1", b"\x01", msgpack.packb([1]), msgpack.packb([["c"]])])
def test_what_no_node_wrote_is_refused(strange: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_posts(strange)
    with pytest.raises(ValueError, match=r".+"):
        read_outcomes(strange)
    with pytest.raises(ValueError, match=r".+"):
        read_question(strange)
