"""Who follows what."""

from broker.whereabouts import Whereabouts


def test_one_and_several_are_remembered_and_struck() -> None:
    where: Whereabouts[str, str] = Whereabouts()
    assert list(where.of("a")) == []
    where.note("a", "news")
    assert list(where.of("a")) == ["news"]
    where.note("a", "sport")
    where.note("a", "weather")
    assert sorted(where.of("a")) == ["news", "sport", "weather"]
    where.strike("a", "news")
    where.strike("a", "never")
    assert sorted(where.of("a")) == ["sport", "weather"]
    where.strike("a", "sport")
    where.strike("a", "weather")
    assert list(where.of("a")) == []
    where.note("a", "news")
    where.strike("a", "sport")
    assert list(where.of("a")) == ["news"]
    where.strike("a", "news")
    assert list(where.of("a")) == []


def test_a_subscriber_that_left_is_forgotten_whole() -> None:
    where: Whereabouts[str, str] = Whereabouts()
    where.note("a", "news")
    where.note("b", "news")
    where.note("b", "sport")
    assert list(where.forget("a")) == ["news"]
    assert sorted(where.forget("b")) == ["news", "sport"]
    assert list(where.forget("b")) == list(where.of("a")) == []


def test_what_is_returned_may_change_while_it_is_walked() -> None:
    where: Whereabouts[str, str] = Whereabouts()
    where.note("a", "news")
    where.note("a", "sport")
    for followed in where.of("a"):
        where.strike("a", followed)
    assert list(where.of("a")) == []
