"""What is read from a handshake's request, and what a refusal says; on sockets in test_handshake.py."""

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request

from broker.errors import Unauthorized
from gateway.negotiation import Negotiation, credential, full, host_of, leaving, unauthorized, wrong_version


@pytest.mark.parametrize(
    ("headers", "path", "found"),
    [
        ([], "/", None),
        ([("Authorization", "Bearer ")], "/?token=", None),
        ([("Authorization", "Bearer"), ("X-API-Key", " ")], "/?token=a", "a"),
        ([], "/?token=a&token=b", "a"),
        ([], "/?token=%C3%A4%2B", "ä+"),
    ],
)
def test_where_credentials_stand(headers: list[tuple[str, str]], path: str, found: str | None) -> None:
    assert credential(Request(path, Headers(headers))) == found


def request(*headers: tuple[str, str]) -> Request:
    return Request("/", Headers(headers))


def test_the_host_is_the_first_that_is_named() -> None:
    assert host_of(request()) is None
    assert host_of(request(("host", "a:1"), ("Host", "b"))) == "a:1"


@pytest.mark.parametrize("spoken", [None, ("one",)])
def test_whoever_offers_no_subprotocol_gets_none(spoken: tuple[str, ...] | None) -> None:
    negotiation = Negotiation()
    negotiation.spoken = spoken
    assert negotiation.select_subprotocol([]) is None


def test_a_room_that_selects_itself_is_not_anticipated() -> None:
    offered = (
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", "one, two"),
    )
    response = Negotiation().accept(request(*offered))
    assert response.status_code == 101
    assert "Sec-WebSocket-Protocol" not in response.headers


def test_refusals_say_what_to_do() -> None:
    assert (full("Full.").status, dict(full("Full.").headers)) == (503, {"Retry-After": "5"})
    assert dict(wrong_version().headers)["Sec-WebSocket-Version"] == "13"
    assert (unauthorized(Unauthorized()).status, unauthorized(Unauthorized()).code) == (401, "unauthorized")


def test_a_refusal_that_is_temporary_says_exactly_when_to_come_again() -> None:
    assert full("Too many.", retry_ms=1200).document == {
        "error": {"code": "limit_exceeded", "message": "Too many.", "retry_ms": 1200}
    }
    assert full("Too many.", retry_ms=1200).headers == (("Retry-After", "2"),)
    assert leaving().document["error"] == {"code": "unavailable", "message": "The node restarts.", "retry_ms": 1000}
    assert "retry_ms" not in str(wrong_version().document)
