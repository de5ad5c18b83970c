"""Subjects: the table of contracts/migratorydata 1.6, and the topics that they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.migratorydata import MigratoryDataException
from headrace.migratorydata.subjects import check_subject, subject_of, topic_of

SEGMENT = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=8)


@pytest.mark.parametrize("subject", ["/Stocks/NYSE/IBM", "/a/b", "/ä/日本", "/a b/c"])
def test_a_path_of_two_or_more_segments_is_a_subject(subject: str) -> None:
    assert check_subject(subject) == subject


@pytest.mark.parametrize(
    "wrong",
    [
        "/Stocks",
        "/Stocks//IBM/BID",
        "Stocks/IBM/BID",
        "/Stocks/IBM/BID/",
        "/",
        "",
        None,
        5,
        "/a/" + "b" * 255,
        "/a/\ud800",
    ],
)
def test_anything_else_is_none(wrong: object) -> None:
    with pytest.raises(MigratoryDataException) as refused:
        check_subject(wrong)
    assert refused.value.get_code() == refused.value.getCode() == MigratoryDataException.E_INVALID_SUBJECT == 1
    assert refused.value.getDetail()


@given(st.lists(SEGMENT, min_size=2, max_size=5), st.sampled_from(["", "p"]))
def test_a_subject_and_its_topic_are_one(segments: list[str], project: str) -> None:
    subject = "/" + "/".join(segments)
    topic = topic_of(subject, project=project)
    assert not topic.startswith("/")
    assert topic == "/".join([*([project] if project else []), *segments])
    assert subject_of(topic, project=project) == subject
