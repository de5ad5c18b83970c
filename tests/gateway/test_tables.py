"""Tables in tables of the configuration: what is read, and where each mistake stands."""
# ruff: noqa: RUF009 - `option` makes a dataclass field.

from dataclasses import dataclass

import pytest

from gateway.options import Mistake, Mistakes, Secret, option
from gateway.tables import quoted, read_listed, read_members, read_named, unknown, with_mistakes


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    name: str = option("", "Its name.")
    size: int = option(1, "Its size.", least=1, most=9)
    lock: Secret | None = option(None, "Its lock.")
    inner: object = option(None, "What is in it.", read=lambda given: read_box(given))  # noqa: PLW0108


def read_box(given: object) -> Box:
    mistakes: list[Mistake] = []
    members = read_members(Box, given, mistakes)
    if mistakes:
        raise Mistakes(mistakes)
    return Box(**members)


def mistakes_in(given: object) -> list[str]:
    mistakes: list[Mistake] = []
    read_members(Box, given, mistakes)
    return [str(mistake) for mistake in mistakes]


def test_members_become_what_their_options_want() -> None:
    mistakes: list[Mistake] = []
    found = read_members(Box, {"name": "a", "lock": "x", "inner": {"size": 3}}, mistakes)
    assert found == {"name": "a", "lock": Secret("x"), "inner": Box(size=3)}
    assert mistakes == []


def test_every_mistake_has_its_place_at_any_depth() -> None:
    given = {"name": 1, "siez": 2, "inner": {"size": 10, "inner": {"what": 1, "size": "big"}}}
    assert mistakes_in(given) == [
        "name: this must be a text (it is '1')",
        "siez: there is no such member; did you mean size?",
        "inner.size: this must be at most 9 (it is '10')",
        "inner.inner.what: there is no such member",
        "inner.inner.size: this must be a whole number (it is 'big')",
    ]
    with pytest.raises(ValueError, match="this must be a table"):
        mistakes_in("a text")


def test_a_secret_is_not_shown() -> None:
    assert mistakes_in({"lock": 12345}) == ["lock: this must be a text"]


def test_a_list_is_told_by_names_or_numbers() -> None:
    with pytest.raises(Mistakes) as error:
        read_listed([{"name": "a b", "size": 0}, {"size": 1}, {"size": 0}, 7], read_box, most=5, called="boxes")
    assert [str(mistake) for mistake in error.value.mistakes] == [
        "\"a b\".size: this must be at least 1 (it is '0')",
        "3.size: this must be at least 1 (it is '0')",
        "4: this must be a table",
    ]


def test_a_list_may_be_json() -> None:
    assert read_listed('[{"name": "a"}]', read_box, most=1, called="boxes") == (Box(name="a"),)
    assert read_listed("", read_box, most=1, called="boxes") == ()
    with pytest.raises(ValueError, match="a JSON list of boxes"):
        read_listed("[", read_box, most=1, called="boxes")
    for given in ("{}", [{}, {}], {"name": "a"}):
        with pytest.raises(ValueError, match="a list of at most 1 boxes"):
            read_listed(given, read_box, most=1, called="boxes")


def test_a_table_of_tables_is_told_by_its_names() -> None:
    def read(name: str, value: object) -> Box:
        return read_box({"name": name, **value})  # type: ignore[dict-item]

    assert read_named({"a": {}, "b": {"size": 2}}, read) == {"a": Box(name="a"), "b": Box(name="b", size=2)}
    with pytest.raises(Mistakes) as error:
        read_named({"$a": {"size": 0}, "b": {}}, read)
    assert [mistake.place for mistake in error.value.mistakes] == ['"$a".size']
    with pytest.raises(ValueError, match="a table"):
        read_named([], read)


def test_what_raises_is_none_and_told() -> None:
    mistakes: list[Mistake] = []
    assert with_mistakes(lambda: int("x"), "here", mistakes) is None
    assert with_mistakes(lambda: int("7"), "here", mistakes) == 7
    assert [mistake.place for mistake in mistakes] == ["here"]


def test_a_word_that_is_near_is_named() -> None:
    assert str(unknown("bakend", ["backend", "other"], "there is none")) == (
        "bakend: there is none; did you mean backend?"
    )
    assert unknown("$x", [], "no").place == '"$x"'


def test_names_are_quoted_where_toml_wants_it() -> None:
    assert [quoted(name) for name in ("a_b-1", "$default", "é")] == ["a_b-1", '"$default"', '"\\u00e9"']
