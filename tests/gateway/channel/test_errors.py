"""What pages are told."""

import pytest

from broker.errors import HeadraceError, InvalidRequest, Unavailable
from gateway.channel.errors import InvalidToken, Replaced, TokenTimedOut, told


@pytest.mark.parametrize(
    ("error", "status", "description"),
    [
        (InvalidToken(), 401, "Invalid+token."),
        (TokenTimedOut(), 401, "Token+timed+out."),
        (Replaced(), 409, "Another+connection+has+taken+over."),
        (Unavailable(), 503, "Service+unavailable."),
        (InvalidRequest(), 400, "Bad+request."),
    ],
)
def test_an_error_is_a_status_with_a_reason(error: HeadraceError, status: int, description: str) -> None:
    assert (told(error).status, told(error).description) == (status, description)
