from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from http_node import now_ms
from management import ID, KEY, SECRET, credential, signed

from gateway.apigateway.application.policies import ALL, read_policy
from gateway.apigateway.configuration.settings import ApiGateway
from gateway.apigateway.errors import ExpiredToken, IncompleteSignature, InvalidSignature, MissingToken, UnknownKey
from gateway.apigateway.management.credentials import EVERYONE, Credentials, credentials_of
from gateway.apigateway.management.sigv4 import SignedRequest

URL = f"https://ws.example.org/prod/@connections/{ID}"
POST_ONLY = read_policy({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})


def request(**given: Any) -> SignedRequest:
    made = signed("POST", URL, b"hello", **given)
    headers = [(name.lower(), value) for name, value in made.headers.raw]
    return SignedRequest(method="POST", raw_path=made.url.raw_path, query=made.url.query, headers=headers)


def test_whoever_signed_is_known_with_their_policy() -> None:
    known = Credentials([credential(), credential("AKIDOTHER", "other", policy=POST_ONLY)])
    assert known.authenticate(request(), b"hello", now_ms=now_ms()).access_key == KEY
    other = known.authenticate(request(key="AKIDOTHER", secret="other"), b"hello", now_ms=now_ms())
    assert (other.access_key, other.policy) == ("AKIDOTHER", POST_ONLY)


def test_the_secret_of_another_key_is_refused() -> None:
    known = Credentials([credential(), credential("AKIDOTHER", "other")])
    with pytest.raises(InvalidSignature):
        known.authenticate(request(secret="other"), b"hello", now_ms=now_ms())


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(UnknownKey):
        Credentials([credential()]).authenticate(request(key="AKIDNOBODY"), b"hello", now_ms=now_ms())
    with pytest.raises(UnknownKey):
        Credentials([]).authenticate(request(), b"hello", now_ms=now_ms())


@pytest.mark.parametrize(
    ("configured", "given", "passes"),
    [("one", "one", True), ("one", "two", False), ("one", None, False), (None, "one", False), (None, None, True)],
)
def test_the_session_token_must_be_the_configured_one(configured: str | None, given: str | None, passes: bool) -> None:
    known = Credentials([credential(token=configured)])
    signed_request = request(token=given) if given else request()
    if passes:
        known.authenticate(signed_request, b"hello", now_ms=now_ms())
    else:
        with pytest.raises(UnknownKey):
            known.authenticate(signed_request, b"hello", now_ms=now_ms())


def test_a_call_of_another_time_is_refused() -> None:
    with pytest.raises(InvalidSignature):
        Credentials([credential()]).authenticate(request(), b"hello", now_ms=now_ms() + 302_000)


def test_another_body_is_refused() -> None:
    with pytest.raises(InvalidSignature):
        Credentials([credential()]).authenticate(request(), b"hello!", now_ms=now_ms())


def unsigned_request(headers: list[tuple[bytes, bytes]]) -> SignedRequest:
    return SignedRequest(method="POST", raw_path=b"/@connections/x", query=b"", headers=headers)


@pytest.mark.parametrize(
    ("headers", "refusal"),
    [([], MissingToken), ([(b"authorization", b"Bearer abc")], IncompleteSignature)],
)
def test_a_call_without_a_signature_is_refused_unless_the_api_is_open(
    headers: list[tuple[bytes, bytes]], refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        Credentials([credential()]).authenticate(unsigned_request(headers), b"", now_ms=now_ms())
    open_to_all = Credentials([credential()], is_open=True)
    assert open_to_all.authenticate(unsigned_request(headers), b"", now_ms=now_ms()) is EVERYONE
    assert EVERYONE.policy is ALL and open_to_all.is_open


def test_a_caller_is_the_same_each_time() -> None:
    known = Credentials([credential()])
    first, again = (known.authenticate(request(), b"hello", now_ms=now_ms()) for _ in range(2))
    assert first is again
    assert not known.is_open


def test_a_body_may_go_unsigned_where_that_is_allowed() -> None:
    one = request(headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    with pytest.raises(InvalidSignature):
        Credentials([credential()]).authenticate(one, b"other", now_ms=now_ms())
    Credentials([credential()], unsigned_body=True).authenticate(one, b"other", now_ms=now_ms())


def test_the_configuration_says_who_is_asked_and_for_what() -> None:
    assert credentials_of(ApiGateway(open=True)).is_open
    one = request(headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    known = (credential(),)
    with pytest.raises(InvalidSignature):
        credentials_of(ApiGateway(credentials=known)).authenticate(one, b"other", now_ms=now_ms())
    lax = credentials_of(ApiGateway(credentials=known, unsigned_payload=True))
    assert lax.authenticate(one, b"other", now_ms=now_ms()).access_key == KEY


def test_a_key_counts_until_it_expires() -> None:
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=10)
    ends_ms = int(moment.timestamp() * 1000)
    known = Credentials([replace(credential(token="session"), expires=moment)])
    known.authenticate(request(token="session"), b"hello", now_ms=ends_ms - 1)
    with pytest.raises(ExpiredToken):
        known.authenticate(request(token="session"), b"hello", now_ms=ends_ms)
    with pytest.raises(InvalidSignature):
        known.authenticate(request(token="session"), b"other", now_ms=ends_ms + 1)


def test_a_secret_is_never_printed() -> None:
    known = Credentials([credential(token="session")])
    caller = known.authenticate(request(token="session"), b"hello", now_ms=now_ms())
    assert SECRET not in repr(known) + repr(caller)


def test_the_key_of_a_day_is_derived_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.apigateway.management import sigv4

    derived: list[str] = []
    real: Callable[..., bytes] = sigv4.signing_key
    monkeypatch.setattr(sigv4, "signing_key", lambda *a, **k: derived.append(k["day"]) or real(*a, **k))
    known = Credentials([credential()])
    for _ in range(3):
        known.authenticate(request(), b"hello", now_ms=now_ms())
    assert len(derived) == 1
