"""Names by tables, and whatever hypothesis thinks of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import InvalidName
from broker.names import (
    DEFAULT_PROJECT,
    MAX_NAME_BYTES,
    ProjectName,
    check_text,
    is_argo_name,
    local_of,
    parse_project,
    parse_subscription,
    parse_topic,
    project_of,
    shown,
    topic_of,
)

GOOD_TOPICS = [
    "p/t",
    "default/a/b/c",
    "shop/orders.eu-1_x",
    "p/ü/漢字/🙂",
    "p/with space",
    "p/%2F",
    "p/a:b;c,d=e&f#g@h",
    "p/..",
    "p/" + "x" * (MAX_NAME_BYTES - 2),
    "p/" + "é" * ((MAX_NAME_BYTES - 2) // 2),
]

BAD_TOPICS = [
    "",
    "p",
    "/",
    "p/",
    "/t",
    "//t",
    "p//t",
    "p/t/",
    "p/a//b",
    "p/" + "x" * (MAX_NAME_BYTES - 1),
    "p/" + "é" * 127,
    "p/*",
    "*/t",
    "p/a*b",
    "p/a?",
    "p/[a]",
    "p/{a",
    "p/a}",
    "p}:x/t",
    "p/a\\b",
    "p/a\x00",
    "p/a\nb",
    "p/a\rb",
    "p/\x1b[0m",
    "p/\x7f",
    "p/\x85",
    "p/a\u2028b",
    "p/a\u2029b",
    "p/\ud800",
    "\udfff/t",
]

FORBIDDEN = [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), *"*?[]{}\\\u2028\u2029\ud800\udbff\udc00\udfff"]


@pytest.mark.parametrize("name", GOOD_TOPICS)
def test_a_good_topic_comes_back_as_it_is(name: str) -> None:
    topic = parse_topic(name)
    assert topic == name
    assert f"{project_of(topic)}/{local_of(topic)}" == name
    assert topic_of(project_of(topic), local_of(topic)) == topic


@pytest.mark.parametrize("name", BAD_TOPICS)
def test_a_bad_topic_is_refused(name: str) -> None:
    with pytest.raises(InvalidName) as refusal:
        parse_topic(name)
    # The sentence goes into frames and log lines.
    assert refusal.value.reason.isprintable()
    assert len(refusal.value.reason) < 1000


@pytest.mark.parametrize("letter", FORBIDDEN)
def test_a_forbidden_character_is_refused_wherever_it_stands(letter: str) -> None:
    for name in (f"p/{letter}", f"p/a{letter}b", f"{letter}p/a", f"p/a/{letter}"):
        with pytest.raises(InvalidName):
            parse_topic(name)
    with pytest.raises(InvalidName):
        parse_project(f"p{letter}")
    with pytest.raises(InvalidName):
        check_text(letter)


@pytest.mark.parametrize("name", ["p", "default", "ü", "x" * MAX_NAME_BYTES])
def test_a_good_project_comes_back_as_it_is(name: str) -> None:
    assert parse_project(name) == name


@pytest.mark.parametrize("name", ["", "a/b", "/", "a/", "x" * (MAX_NAME_BYTES + 1), "*", "a\n"])
def test_a_bad_project_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        parse_project(name)


def test_the_default_project_is_a_good_one() -> None:
    assert parse_project(DEFAULT_PROJECT) == "default"


@pytest.mark.parametrize("local", ["", "/", "a//b", "a/", "*", "x" * 250])
def test_a_local_name_is_held_to_the_same_rule(local: str) -> None:
    with pytest.raises(InvalidName):
        topic_of(ProjectName("project"), local)


@pytest.mark.parametrize(
    ("name", "allowed"),
    [("a", True), ("A-b_9", True), ("", False), ("a.b", False), ("a/b", False), ("ü", False), ("a\n", False)],
)
def test_argo_has_a_narrower_rule(name: str, allowed: bool) -> None:
    assert is_argo_name(name) is allowed


@given(st.text())
def test_any_text_is_a_topic_or_is_refused(text: str) -> None:
    try:
        topic = parse_topic(text)
    except InvalidName as refusal:
        assert refusal.reason.isprintable()
        return
    assert len(topic.encode()) <= MAX_NAME_BYTES
    assert not set(topic) & set(FORBIDDEN)
    assert all(topic.split("/"))
    assert "/" in topic


@given(st.text())
def test_what_is_shown_of_a_name_is_short_plain_ascii(text: str) -> None:
    quoted = shown(text)
    assert quoted.isascii()
    assert quoted.isprintable()
    assert len(quoted) <= 65 * 10 + 2


def test_a_subscription_is_named_like_a_topic_of_one_segment() -> None:
    name = parse_subscription("shop/billing")
    assert (project_of(name), local_of(name)) == ("shop", "billing")
    for text in ("", "shop", "shop/", "/billing", "shop/a/b", "shop/a}", "shop/" + "x" * MAX_NAME_BYTES):
        with pytest.raises(InvalidName):
            parse_subscription(text)
