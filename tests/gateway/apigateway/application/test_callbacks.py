"""Requests to back ends: signed, whole, sent once."""

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator

import pytest
from receiver import Receiver, answering, hanging, hanging_up

from gateway.apigateway.application.callbacks import Callbacks, callbacks, signature
from gateway.apigateway.application.outcomes import Broken, TimedOut, Unreached
from gateway.options import Secret
from gateway.outgoing import Reply

NOW_MS = 1_700_000_000_999


@pytest.fixture
async def sender() -> AsyncIterator[Callbacks]:
    made = callbacks(now_ms=lambda: NOW_MS)
    yield made
    await made.close()


async def sent(
    sender: Callbacks, url: str, *, secret: Secret | None = None, seconds: float = 5, max_bytes: int = 1000
) -> Reply:
    return await sender.send(
        "POST",
        url,
        headers=[("X-A", "b")],
        body=b"hi",
        secret=secret,
        event_id="E1",
        seconds=seconds,
        max_bytes=max_bytes,
    )


async def test_a_request_goes_to_a_private_address_over_plain_http(receiver: Receiver, sender: Callbacks) -> None:
    receiver.answer = answering(418, b"tea", "X-B: c")
    reply = await sent(sender, f"http://127.0.0.1:{receiver.port}/in?a=b")
    assert (reply.status, reply.body, dict(reply.headers)["x-b"]) == (418, b"tea", "c")
    (request,) = receiver.received
    assert (request.method, request.target, request.body) == ("POST", "/in?a=b", b"hi")
    assert (request.headers["x-a"], request.headers["webhook-id"]) == ("b", "E1")
    assert "webhook-signature" not in request.headers


async def test_with_a_secret_it_is_signed(receiver: Receiver, sender: Callbacks) -> None:
    await sent(sender, f"http://127.0.0.1:{receiver.port}/", secret=Secret("hush"))
    headers = receiver.received[0].headers
    expected = hmac.digest(b"hush", b"E1.1700000000.hi", hashlib.sha256)
    assert headers["webhook-id"] == "E1"
    assert headers["webhook-timestamp"] == "1700000000"
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"


@pytest.mark.parametrize(("secret", "key"), [("whsec_aHVzaA==", b"hush"), ("whsec_no base64", b"whsec_no base64")])
def test_a_secret_may_have_the_form_of_the_standard(secret: str, key: bytes) -> None:
    (_, _, (_, found)) = signature(Secret(secret), "E", b"b", now_s=1)
    assert found == f"v1,{base64.b64encode(hmac.digest(key, b'E.1.b', hashlib.sha256)).decode()}"


async def test_a_connection_is_kept(receiver: Receiver, sender: Callbacks) -> None:
    for _ in range(3):
        await sent(sender, f"http://127.0.0.1:{receiver.port}/")
    assert receiver.connections == 1


async def test_failures_are_told_apart_and_nothing_is_sent_twice(receiver: Receiver, sender: Callbacks) -> None:
    url = f"http://127.0.0.1:{receiver.port}/"
    receiver.answer = hanging
    with pytest.raises(TimedOut):
        await sent(sender, url, seconds=0.1)
    receiver.answer = hanging_up
    with pytest.raises(Unreached) as lost:
        await sent(sender, url)
    assert not isinstance(lost.value, TimedOut)
    receiver.answer = answering(200, b"x" * 11)
    with pytest.raises(Unreached):
        await sent(sender, url, max_bytes=10)
    assert len(receiver.received) == 3
    with pytest.raises(Broken):
        await sent(sender, url + "x" * 3000)
