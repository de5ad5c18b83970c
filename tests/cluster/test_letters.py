"""Letters go both ways, and what is none is refused."""

import contextlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Forbidden, HeadraceError, ServerError, Unauthorized, Unavailable
from cluster.letters import MAX_ID_BYTES, Answer, Request, read_letter, refusal_of


@given(st.binary(max_size=MAX_ID_BYTES), st.text(), st.text(), st.binary())
def test_requests_and_answers_go_both_ways(ident: bytes, sender: str, name: str, body: bytes) -> None:
    request, answer = Request(ident, sender, name, body), Answer(ident, body)
    assert read_letter(request.packed()) == request
    assert read_letter(answer.packed()) == answer


@pytest.mark.parametrize("refusal", [Unavailable("later", retry_ms=5), Forbidden("no"), Unauthorized()])
def test_a_refusal_arrives_as_what_it_was(refusal: HeadraceError) -> None:
    read = read_letter(Answer(b"1", refusal=refusal).packed())
    assert isinstance(read, Answer)
    assert read.refusal is not None
    assert type(read.refusal) is type(refusal)
    assert (read.refusal.reason, read.refusal.retry_ms) == (refusal.reason, refusal.retry_ms)


def test_a_code_of_another_version_is_a_failure_of_the_server() -> None:
    refusal = refusal_of("teapot", "short and stout", None)
    assert type(refusal) is ServerError
    assert refusal.reason == "short and stout"


def test_what_a_newer_version_adds_is_passed_over() -> None:
    assert read_letter(msgpack.packb([1, b"i", "s", "n", b"b", "more"])) == Request(b"i", "s", "n", b"b")
    assert read_letter(msgpack.packb([2, b"i", b"b", 1])) == Answer(b"i", b"b")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        msgpack.packb(1),
        msgpack.packb([]),
        msgpack.packb([1, b"i", "s", "n"]),
        msgpack.packb([1, "i", "s", "n", b"b"]),
        msgpack.packb([1, b"i" * (MAX_ID_BYTES + 1), "s", "n", b"b"]),
        msgpack.packb([2, b"i", "text"]),
        msgpack.packb([3, b"i", "code"]),
        msgpack.packb([4, b"i", b"b"]),
        msgpack.packb([1, b"i", "s", "n", b"b"]) + b"\x00",
    ],
)
def test_what_is_no_letter_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a letter"):
        read_letter(data)


@given(st.binary())
def test_any_bytes_are_a_letter_or_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        read_letter(data)
