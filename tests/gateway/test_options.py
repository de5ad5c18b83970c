"""How one option is found, read and refused."""

from dataclasses import dataclass, field
from enum import StrEnum

import pytest

from gateway.options import (
    MAX_SHOWN,
    ConfigError,
    Mistake,
    Mistakes,
    Option,
    Secret,
    describe,
    flatten,
    line_of,
    lines_of_tables,
    nearest,
    option,
    options_of,
    read_value,
)

# ruff: noqa: RUF009 - `option` makes a dataclass field.


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True)
class Inner:
    depth: float = option(1.5, "How deep.", least=0, most=10)


@dataclass(frozen=True, kw_only=True)
class Outer:
    count: int = option(3, "How many.", least=1, most=1000)
    word: str = option("x", "Which.")
    yes: bool = option(False, "Whether.")
    color: Color | None = option(None, "Of what color.")
    names: tuple[str, ...] = option((), "Who.")
    password: Secret | None = option(None, "Hush.")
    keys: tuple[str, ...] = option((), "Read by a function.", read=lambda given: ("read", str(given)))
    inner: Inner = field(default_factory=Inner)
    derived: dict[str, str] = field(default_factory=dict)


OPTIONS = {known.key: known for known in options_of(Outer)}


def test_options_are_the_fields_of_a_dataclass_and_of_its_sections() -> None:
    assert list(OPTIONS) == ["count", "word", "yes", "color", "names", "password", "keys", "inner.depth"]
    assert OPTIONS["inner.depth"].variable == "HEADRACE_INNER_DEPTH"
    assert OPTIONS["count"].meaning == "How many."
    assert [key for key, known in OPTIONS.items() if known.is_secret] == ["password", "keys"]


GOOD: list[tuple[str, object, object]] = [
    ("count", 7, 7),
    ("count", "7", 7),
    ("count", 7.0, 7),
    ("count", 1, 1),
    ("count", 1000, 1000),
    ("inner.depth", "0.5", 0.5),
    ("inner.depth", 2, 2.0),
    ("word", "y", "y"),
    ("word", "", ""),
    ("yes", True, True),
    ("yes", "Yes", True),
    ("yes", "on", True),
    ("yes", "0", False),
    ("yes", "false", False),
    ("color", "red", Color.RED),
    ("color", "BLUE", Color.BLUE),
    ("names", "a, b,,c ", ("a", "b", "c")),
    ("names", "", ()),
    ("names", ["a", "b"], ("a", "b")),
    ("password", "hush", Secret("hush")),
    ("password", "", None),
    ("keys", 5, ("read", "5")),
]


@pytest.mark.parametrize(("key", "given", "value"), GOOD)
def test_a_good_value_is_read(key: str, given: object, value: object) -> None:
    read = read_value(OPTIONS[key], given)
    assert read == value
    assert type(read) is type(value)


BAD: list[tuple[str, object, str]] = [
    ("count", "x", "a whole number"),
    ("count", "", "a whole number"),
    ("count", "1_0", "a whole number"),
    ("count", " 7", "a whole number"),
    ("count", "7.5", "a whole number"),
    ("count", 7.5, "a whole number"),
    ("count", True, "a whole number"),
    ("count", None, "a whole number"),
    ("count", [7], "a whole number"),
    ("count", float("inf"), "a whole number"),
    ("count", 0, "at least 1"),
    ("count", "1001", "at most 1_000"),
    ("inner.depth", "nan", "a number"),
    ("inner.depth", float("nan"), "a number"),
    ("inner.depth", "1e9", "a number"),
    ("inner.depth", -0.5, "at least 0"),
    ("inner.depth", 10.5, "at most 10"),
    ("word", 7, "a text"),
    ("yes", "maybe", "true or false"),
    ("yes", 1, "true or false"),
    ("color", "green", "one of red, blue"),
    ("color", 7, "a text"),
    ("names", 7, "a list"),
    ("names", [7], "a list"),
    ("password", 7, "a text"),
]


@pytest.mark.parametrize(("key", "given", "sentence"), BAD)
def test_a_bad_value_is_refused_with_what_it_must_be(key: str, given: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_value(OPTIONS[key], given)


def test_an_offending_value_is_shown_cut_and_escaped_unless_it_is_secret() -> None:
    assert describe(OPTIONS["count"], "a\nb") == r" (it is 'a\nb')"
    assert len(describe(OPTIONS["count"], "x" * 1000)) < MAX_SHOWN + 30
    assert describe(OPTIONS["password"], 1234) == ""
    assert describe(OPTIONS["keys"], 1234) == ""


def test_a_near_word_is_suggested_and_a_far_one_is_not() -> None:
    assert nearest("cuont", [*OPTIONS]) == "count"
    assert nearest("inner.dept", [*OPTIONS]) == "inner.depth"
    assert nearest("zzz", [*OPTIONS]) is None


def test_a_secret_shows_nowhere() -> None:
    secret = Secret("hush")
    assert "hush" not in f"{secret} {secret!r} {[secret]} {Outer(password=secret)}"
    assert secret.value == "hush"
    assert secret == Secret("hush")


def test_sections_are_flattened_and_nothing_else() -> None:
    table: dict[str, object] = {"a": 1, "inner": {"depth": 2, "x": {"y": 3}}, "other": {"z": 4}}
    assert flatten(table, ["inner"]) == {"a": 1, "inner.depth": 2, "inner.x": {"y": 3}, "other": {"z": 4}}
    assert flatten({"inner": 5}, ["inner"]) == {"inner": 5}


DOCUMENT = """\
# a comment: count = 1
count = 2
"word" = "x"
inner.depth = 3

[inner]
depth = 4
count = 5

[[auth.keys]]
kid = "a"
"""

LINES = [("count", 2), ("word", 3), ("inner.depth", 4), ("inner.count", 8), ("auth.keys", 10), ("missing", None)]


@pytest.mark.parametrize(("key", "line"), LINES)
def test_a_key_is_found_on_its_line(key: str, line: int | None) -> None:
    assert line_of(DOCUMENT, key) == line


def test_an_error_says_every_mistake() -> None:
    error = ConfigError([Mistake("a", "one"), Mistake("b", "two")])
    assert str(error) == "a: one\nb: two"
    assert len(error.mistakes) == 2


def test_an_option_needs_no_bounds() -> None:
    free = Option("free", int, 0, "Any.", None, None, None)
    assert read_value(free, -(10**30)) == -(10**30)


def test_mistakes_stand_under_what_they_were_found_in() -> None:
    found = Mistakes([Mistake("a", "wrong"), Mistake("", "no table", item=2), Mistake("b.c", "wrong", item=3)])
    assert str(found) == "a: wrong; : no table; b.c: wrong"
    assert [mistake.place for mistake in found.under("x")] == ["x.a", "x", "x.b.c"]
    assert [mistake.place for mistake in found.under("x", ["x1", "x2"])] == ["x.a", "x2", "x.b.c"]
    assert [mistake.place for mistake in found.under("")] == ["a", "", "b.c"]


def test_tables_of_a_list_have_their_lines() -> None:
    text = "[[a.b]]\nx = 1\n[[a.b.c]]\n  [[ a.b ]]\n[a.b]\n# [[a.b]]\n[[axb]]\n"
    assert lines_of_tables(text, "a.b") == [1, 4]
    assert lines_of_tables("", "a") == []
