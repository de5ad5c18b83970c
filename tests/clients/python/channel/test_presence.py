"""What an application is told of presence, and by whom."""

import pytest

from headrace.channel.presence import MAX_BODY_BYTES, InvalidPresence, Presence, signature, verify_presence

SECRET = "the secret of the application"
NOW = 1_700_000_000.0
ID = "connected_event-1"
CONNECTED = "/_ah/channel/connected/"


def headers(body: bytes, *, event_id: str = ID, timestamp: str = "1700000000", secret: str = SECRET) -> dict[str, str]:
    return {
        "Webhook-Id": event_id,
        "WEBHOOK-TIMESTAMP": timestamp,
        "webhook-signature": signature(secret, event_id, timestamp, body),
    }


def verified(body: bytes, *, path: str = CONNECTED, now: float = NOW, **given: str) -> Presence:
    return verify_presence(path, headers(body, **given), body, secret=SECRET, now=now)


def test_a_request_of_a_node() -> None:
    assert verified(b"from=player+1%26&seq=7") == Presence("player 1&", True, ID, 7)
    assert verified(b"from=") == Presence("", True, ID, None)
    assert not verified(b"from=a", path="/app/_ah/channel/disconnected", event_id="disconnected_1").connected


def test_the_signature_is_over_id_time_and_body() -> None:
    # printf 'connected_event-1.1700000000.from=a' | openssl dgst -sha256 -hmac "$SECRET" -binary | base64
    assert signature(SECRET, ID, "1700000000", b"from=a") == "v1,tR3Xb3WGf/YEvdehk8Y0/XOVP5/+EXR5EenFcklOTf4="


@pytest.mark.parametrize("now", [NOW - 300, NOW + 300])
def test_clocks_may_differ_a_little(now: float) -> None:
    assert verified(b"from=a", now=now).client_id == "a"


@pytest.mark.parametrize("now", [NOW - 301, NOW + 301])
def test_and_no_more(now: float) -> None:
    with pytest.raises(InvalidPresence):
        verified(b"from=a", now=now)


@pytest.mark.parametrize("timestamp", ["", "now", "-1", "1700000000.0", "१७००००००००"])
def test_a_timestamp_that_is_none(timestamp: str) -> None:
    with pytest.raises(InvalidPresence):
        verified(b"from=a", timestamp=timestamp)


@pytest.mark.parametrize(
    ("path", "event_id"),
    [
        ("/_ah/channel/disconnected/", "connected_1"),
        ("/_ah/channel/connected/", "disconnected_1"),
        ("/_ah/channel/other/", "connected_1"),
        ("/_ah/channel/other/", "other_1"),
        ("", "connected_1"),
        ("/_ah/channel/connected/", "1"),
    ],
)
def test_a_request_is_good_for_its_own_path_alone(path: str, event_id: str) -> None:
    with pytest.raises(InvalidPresence):
        verified(b"from=a", path=path, event_id=event_id)


@pytest.mark.parametrize("name", ["Webhook-Id", "WEBHOOK-TIMESTAMP", "webhook-signature"])
def test_every_header_counts(name: str) -> None:
    given = headers(b"from=a")
    for changed in (given[name][:-1], given[name][:-1] + "2", given[name] + "0", ""):
        with pytest.raises(InvalidPresence):
            verify_presence(CONNECTED, {**given, name: changed}, b"from=a", secret=SECRET, now=NOW)
    del given[name]
    with pytest.raises(InvalidPresence):
        verify_presence(CONNECTED, given, b"from=a", secret=SECRET, now=NOW)


def test_the_body_counts_and_so_does_the_secret() -> None:
    with pytest.raises(InvalidPresence):
        verify_presence(CONNECTED, headers(b"from=a"), b"from=b", secret=SECRET, now=NOW)
    with pytest.raises(InvalidPresence):
        verify_presence(CONNECTED, headers(b"from=a"), b"from=a", secret="other", now=NOW)


def test_while_the_secret_is_changed_one_of_the_signatures_is_enough() -> None:
    given = headers(b"from=a")
    given["webhook-signature"] = f"v1,bm8= {given['webhook-signature']} v2,x"

    assert verify_presence(CONNECTED, given, b"from=a", secret=SECRET, now=NOW).client_id == "a"


def test_a_body_without_a_client_or_beyond_its_bound() -> None:
    with pytest.raises(InvalidPresence):
        verified(b"seq=1")
    with pytest.raises(InvalidPresence):
        verified(b"from=" + b"a" * MAX_BODY_BYTES)


def test_a_client_id_of_any_bytes() -> None:
    assert verified(b"from=%FF%00").client_id.encode(errors="surrogateescape") == b"\xff\x00"
