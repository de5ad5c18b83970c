"""The tree of refusals: what every face relies on when it translates one."""

import re
from collections.abc import Iterator

import pytest

from broker import errors
from broker.errors import CallerError, HeadraceError, ServerError


def tree(root: type[HeadraceError]) -> Iterator[type[HeadraceError]]:
    for kind in root.__subclasses__():
        yield kind
        yield from tree(kind)


CLASSES = [kind for kind in tree(HeadraceError) if kind not in (CallerError, ServerError)]
LEAVES = [kind for kind in CLASSES if "code" in vars(kind)]
"""Those with a code; a finer class without one is the same refusal to every client."""

CODES = """
    invalid_name invalid_message invalid_request unknown_op too_large unknown_topic unknown_project already_exists
    already_subscribed not_subscribed unauthorized forbidden key_conflict stale_sequence unsupported limit_exceeded
    unavailable unknown_outcome out_of_memory
"""


def test_the_codes_are_what_clients_know() -> None:
    """A code is part of the protocol: adding one is an addition, changing one breaks clients."""
    assert {kind.code for kind in LEAVES} >= set(CODES.split())


@pytest.mark.parametrize("kind", LEAVES)
def test_a_refusal_has_its_own_code_and_a_sentence(kind: type[HeadraceError]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.code)
    assert [other for other in LEAVES if other.code == kind.code] == [kind]
    assert kind.sentence[0].isupper()
    assert kind.sentence[-1] == "."
    assert str(kind()) == kind.sentence
    assert kind().retry_ms is None


@pytest.mark.parametrize("kind", LEAVES)
def test_whose_fault_it_is_shows_in_the_class(kind: type[HeadraceError]) -> None:
    assert issubclass(kind, CallerError) != issubclass(kind, ServerError)


def test_a_reason_and_a_time_to_come_back_are_kept() -> None:
    refusal = errors.Unavailable("Redis is away.", retry_ms=250)
    assert (str(refusal), refusal.reason, refusal.retry_ms) == ("Redis is away.", "Redis is away.", 250)
    assert refusal.args == ("Redis is away.",)


def test_an_expired_token_is_refused_like_any_other() -> None:
    assert errors.Expired().code == errors.Unauthorized.code
    assert str(errors.Expired()) == "The token has expired."
