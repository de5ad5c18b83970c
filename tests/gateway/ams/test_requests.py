"""Who sees what."""

import pytest

from broker.names import ProjectName, TopicName
from broker.rights import Principal
from gateway.ams.requests import reaches, sees_topic


@pytest.mark.parametrize(
    ("patterns", "reached"),
    [
        ((), False),
        (("p/t",), True),
        (("p/a/b",), True),
        (("p/*",), True),
        (("*",), True),
        (("p*",), True),
        (("pp/t",), False),
        (("pp*",), False),
        (("q/*", "p/x"), True),
    ],
)
def test_any_right_in_a_project_reaches_it(patterns: tuple[str, ...], reached: bool) -> None:
    assert reaches(Principal("who", publish=patterns), ProjectName("p")) is reached
    assert reaches(Principal("who", subscribe=patterns), ProjectName("p")) is reached


def test_an_operator_sees_all() -> None:
    operator = Principal("who", operator=True)
    assert reaches(operator, ProjectName("p"))
    assert sees_topic(operator, TopicName("p/t"))


def test_others_see_the_topics_that_their_patterns_cover() -> None:
    caller = Principal("who", publish=("p/a*",), subscribe=("p/b",))
    assert [sees_topic(caller, TopicName(f"p/{name}")) for name in ("a", "ab", "b", "bc")] == [True, True, True, False]
