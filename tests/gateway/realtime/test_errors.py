import pytest

from broker.errors import Forbidden, InvalidRequest, LimitExceeded, Unauthorized, Unavailable, UnknownOutcome
from gateway.realtime.errors import DEFAULT_RETRY_MS, CloseCode, for_the_wire


@pytest.mark.parametrize("refusal", [Unavailable(), UnknownOutcome()])
def test_what_is_the_servers_fault_says_when_to_come_back(refusal: Unavailable | UnknownOutcome) -> None:
    assert for_the_wire(refusal, authenticated=True).retry_ms == DEFAULT_RETRY_MS


def test_a_given_time_stays() -> None:
    assert for_the_wire(Unavailable(retry_ms=7), authenticated=True).retry_ms == 7
    assert for_the_wire(LimitExceeded(retry_ms=7), authenticated=True).retry_ms == 7


def test_what_is_the_callers_fault_is_not_worth_repeating() -> None:
    assert for_the_wire(InvalidRequest(), authenticated=True).retry_ms is None


def test_a_caller_without_a_credential_is_asked_for_one() -> None:
    assert isinstance(for_the_wire(Forbidden(), authenticated=False), Unauthorized)
    assert isinstance(for_the_wire(Forbidden(), authenticated=True), Forbidden)


def test_the_close_codes_say_whether_to_come_back() -> None:
    come_back = {code for code in CloseCode if 4000 <= code < 4500}
    stay_away = {code for code in CloseCode if code >= 4500}
    assert come_back == {CloseCode.OVERLOADED, CloseCode.NO_PONG}
    assert stay_away == {4500, 4501, 4502, 4503}
