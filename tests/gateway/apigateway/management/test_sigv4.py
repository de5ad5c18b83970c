"""Verified against botocore's own signer, and against AWS's published example keys; tampering is hypothesis' work."""

import hashlib
import hmac
import json
from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from gateway.apigateway.errors import IncompleteSignature, InvalidSignature
from gateway.apigateway.management.sigv4 import (
    MAX_EXPIRES_SECONDS,
    MAX_QUERY_FIELDS,
    MAX_SIGNED_HEADERS,
    SKEW_MS,
    Signature,
    SignedRequest,
    check,
    check_time,
    read,
    signing_key,
)

KEY, SECRET, REGION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "eu-west-1"
NOW_MS = 1_792_000_000_000
HOST = "ws.example.org:8443"
PATH = "/prod/@connections/L0SM9cOFvHcCIhw%3D"


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime.fromtimestamp(NOW_MS / 1000, UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda remove_tzinfo=True: moment)


def by_botocore(
    body: bytes = b"hello",
    *,
    method: str = "POST",
    path: str = PATH,
    query: str = "",
    headers: dict[str, str] | None = None,
    token: str | None = None,
    presigned: int | None = None,
    secret: str = SECRET,
    service: str = "execute-api",
) -> SignedRequest:
    """Return what a server sees of a request that botocore has signed."""
    url = f"https://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, headers={"Host": HOST, **(headers or {})}, data=body)
    credentials = Credentials(KEY, secret, token)
    if presigned is None:
        SigV4Auth(credentials, service, REGION).add_auth(request)
    else:
        SigV4QueryAuth(credentials, service, REGION, expires=presigned).add_auth(request)
    seen = urlsplit(request.url)
    return SignedRequest(
        method=method,
        raw_path=seen.path.encode(),
        query=seen.query.encode(),
        headers=[(name.lower().encode(), value.encode()) for name, value in request.headers.items()],
    )


def found(request: SignedRequest) -> Signature:
    signature = read(request)
    assert signature is not None
    return signature


def verify(
    request: SignedRequest, body: bytes = b"hello", *, secret: str = SECRET, unsigned_body: bool = False
) -> Signature:
    signature = found(request)
    check_time(signature, now_ms=NOW_MS)
    key = signing_key(secret, day=signature.day, region=signature.region)
    check(signature, request, body, key, unsigned_body=unsigned_body)
    return signature


def with_header(request: SignedRequest, name: bytes, value: bytes) -> SignedRequest:
    others = [pair for pair in request.headers if pair[0] != name]
    return replace(request, headers=[*others, (name, value)])


def without_header(request: SignedRequest, name: bytes) -> SignedRequest:
    return replace(request, headers=[pair for pair in request.headers if pair[0] != name])


def authorization(request: SignedRequest) -> bytes:
    return dict(request.headers)[b"authorization"]


def with_authorization(request: SignedRequest, old: bytes, new: bytes) -> SignedRequest:
    assert old in authorization(request)
    return with_header(request, b"authorization", authorization(request).replace(old, new))


# What is right.


def test_the_key_is_the_one_of_the_published_example() -> None:
    def digest(key: bytes, text: str) -> bytes:
        return hmac.new(key, text.encode(), hashlib.sha256).digest()

    expected = digest(
        digest(digest(digest(f"AWS4{SECRET}".encode(), "20150830"), "us-east-1"), "execute-api"), "aws4_request"
    )
    assert signing_key(SECRET, day="20150830", region="us-east-1") == expected


def test_botocores_header_is_verified_and_read() -> None:
    signature = verify(by_botocore())
    assert (signature.access_key, signature.region, signature.token) == (KEY, REGION, None)
    assert signature.signed_headers == (b"host", b"x-amz-date")
    assert signature.at_ms == NOW_MS and signature.expires_seconds is None


def test_a_session_token_is_signed_and_read() -> None:
    signature = verify(by_botocore(token="the/session+token=="))
    assert signature.token == "the/session+token=="
    assert b"x-amz-security-token" in signature.signed_headers


def test_a_presigned_query_is_verified_and_read() -> None:
    signature = verify(by_botocore(b"", method="GET", presigned=60, token="a/token+="), b"")
    assert (signature.token, signature.expires_seconds, signature.signed_headers) == ("a/token+=", 60, (b"host",))


def test_signed_headers_may_hold_spaces_and_come_twice() -> None:
    request = by_botocore(headers={"X-Amz-User-Agent": "aws-sdk-js/3   os/linux  ", "Content-Type": "text/plain"})
    assert b"x-amz-user-agent" in verify(request).signed_headers


def test_the_digest_of_the_body_may_be_told() -> None:
    digest = hashlib.sha256(b"hello").hexdigest()
    verify(by_botocore(headers={"X-Amz-Content-SHA256": digest}))


def test_no_signature_is_none() -> None:
    request = SignedRequest(method="POST", raw_path=PATH.encode(), query=b"a=b", headers=[(b"host", b"h")])
    assert read(request) is None
    assert read(replace(request, query=b"X-Amz-Meta=1")) is None


def test_a_signature_is_not_printed() -> None:
    signature = verify(by_botocore(token="secret-token"))
    assert "secret-token" not in repr(signature) and signature.digest.decode() not in repr(signature)


segments = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=12).filter(
    lambda text: text not in (".", "..")
)


@given(
    st.lists(segments, min_size=1, max_size=4),
    st.lists(st.tuples(segments, segments), max_size=4),
    st.binary(max_size=200),
    st.sampled_from(["GET", "POST", "DELETE"]),
    st.booleans(),
)
def test_whatever_botocore_signs_is_verified(
    parts: list[str], fields: list[tuple[str, str]], body: bytes, method: str, presigned: bool
) -> None:
    path = "".join(f"/{quote(part, safe='@')}" for part in parts)
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in fields)
    body = b"" if presigned else body
    request = by_botocore(body, method=method, path=path, query=query, presigned=300 if presigned else None)
    verify(request, body)


RECORDED = json.loads((Path(__file__).parent / "signatures.json").read_text())
"""Calls of other clients, as they came to a socket: both JavaScript SDKs, aws4 and awscurl."""


@pytest.mark.parametrize("call", RECORDED, ids=lambda call: f"{call['client']} {call['method']}")
def test_other_clients_signatures_are_verified(call: dict[str, Any]) -> None:
    request = SignedRequest(
        method=call["method"],
        raw_path=call["path"].encode(),
        query=call["query"].encode(),
        headers=[(name.encode(), value.encode("latin-1")) for name, value in call["headers"]],
    )
    signature, body = found(request), b64decode(call["body"])
    check_time(signature, now_ms=signature.at_ms)
    key = signing_key(SECRET, day=signature.day, region=signature.region)
    check(signature, request, body, key)
    for other, other_body in (
        (request, body + b"!"),
        (replace(request, raw_path=request.raw_path + b"x"), body),
        (replace(request, method="PUT"), body),
    ):
        with pytest.raises(InvalidSignature):
            check(signature, other, other_body, key)


# What is tampered with.


def test_another_secret_is_refused() -> None:
    with pytest.raises(InvalidSignature):
        verify(by_botocore(), secret=SECRET + "x")


def test_another_body_is_refused() -> None:
    with pytest.raises(InvalidSignature):
        verify(by_botocore(), b"hello!")


@pytest.mark.parametrize("presigned", [None, 300])
@pytest.mark.parametrize(
    "change",
    [
        {"method": "DELETE"},
        {"raw_path": b"/prod/@connections/L0SM9cOFvHcCIhx%3D"},
        {"raw_path": b"/prod/@connections/L0SM9cOFvHcCIhw="},
        {"raw_path": b"/prod/%40connections/L0SM9cOFvHcCIhw%3D"},
        {"raw_path": b"/PROD/@connections/L0SM9cOFvHcCIhw%3D"},
    ],
)
def test_another_request_line_is_refused(presigned: int | None, change: dict[str, object]) -> None:
    request = by_botocore(b"", presigned=presigned)
    verify(request, b"")
    with pytest.raises(InvalidSignature):
        verify(replace(request, **change), b"")  # type: ignore[arg-type]


def test_another_query_is_refused() -> None:
    with pytest.raises(InvalidSignature):
        verify(replace(by_botocore(query="a=1"), query=b"a=2"))
    request = by_botocore(b"", presigned=300)
    with pytest.raises(InvalidSignature):
        verify(replace(request, query=request.query.replace(b"Expires=300", b"Expires=301")), b"")


def test_fields_of_a_query_may_change_places_but_not_come_or_go() -> None:
    request = by_botocore(query="b=2&a=1")
    verify(replace(request, query=b"a=1&b=2"))
    for query in (b"a=1", b"a=1&b=2&c=3", b"a=1&b=2&b=2"):
        with pytest.raises(InvalidSignature):
            verify(replace(request, query=query))


def test_a_signed_header_may_not_change_or_go() -> None:
    request = by_botocore(headers={"X-Amz-User-Agent": "one"})
    verify(request)
    for other in (
        with_header(request, b"x-amz-user-agent", b"two"),
        with_header(request, b"host", b"elsewhere.example.org"),
        without_header(request, b"x-amz-user-agent"),
        replace(request, headers=[*request.headers, (b"x-amz-user-agent", b"two")]),
    ):
        with pytest.raises(InvalidSignature):
            verify(other)


def test_a_header_that_is_not_signed_may_change() -> None:
    verify(with_header(by_botocore(), b"accept", b"*/*"))


def test_a_foreign_digest_of_the_body_is_refused() -> None:
    digest = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(InvalidSignature, match="Content-Sha256"):
        verify(by_botocore(headers={"X-Amz-Content-SHA256": digest}))


def test_an_unsigned_body_is_refused_unless_that_is_allowed() -> None:
    request = by_botocore(headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    with pytest.raises(InvalidSignature):
        verify(request)
    verify(request, b"whatever", unsigned_body=True)
    with pytest.raises(InvalidSignature):
        verify(by_botocore(), b"whatever", unsigned_body=True)


@given(st.data())
def test_no_single_changed_byte_passes(data: st.DataObject) -> None:
    request = by_botocore(b"", method="GET", presigned=300) if data.draw(st.booleans()) else by_botocore(b"")
    part = data.draw(st.sampled_from(["raw_path", "query", "authorization", "x-amz-date"]))
    name = part.encode()
    old = getattr(request, part) if part in ("raw_path", "query") else dict(request.headers).get(name, b"")
    if not old:
        return
    at = data.draw(st.integers(0, len(old) - 1))
    new = old[:at] + bytes([data.draw(st.integers(33, 126))]) + old[at + 1 :]
    changed = replace(request, **{part: new}) if part in ("raw_path", "query") else with_header(request, name, new)
    try:
        signature = read(changed)
        if signature is None or signature.access_key != KEY:
            return
        verify(changed, b"")
    except (InvalidSignature, IncompleteSignature):
        return
    assert same_meaning(old, new), (old, new)


def same_meaning(old: bytes, new: bytes) -> bool:
    """Spaces around the parts of a header, and the case of percent escapes in a query, are no part of the request."""
    return old.lower() == new.lower() or old.replace(b" ", b"") == new.replace(b" ", b"")


# The time.


def test_the_skew_is_awss() -> None:
    assert SKEW_MS == 300_000


@pytest.mark.parametrize("off_ms", [-SKEW_MS, 0, SKEW_MS])
def test_a_clock_may_be_off_by_five_minutes(off_ms: int) -> None:
    check_time(found(by_botocore()), now_ms=NOW_MS + off_ms)


@pytest.mark.parametrize("off_ms", [-SKEW_MS - 1, SKEW_MS + 1])
def test_a_clock_may_not_be_off_by_more(off_ms: int) -> None:
    with pytest.raises(InvalidSignature):
        check_time(found(by_botocore()), now_ms=NOW_MS + off_ms)


def test_a_presigned_query_lives_as_long_as_it_says() -> None:
    signature = found(by_botocore(b"", presigned=3600))
    check_time(signature, now_ms=NOW_MS + 3_600_000)
    check_time(signature, now_ms=NOW_MS - SKEW_MS)
    with pytest.raises(InvalidSignature, match="expired"):
        check_time(signature, now_ms=NOW_MS + 3_600_001)
    with pytest.raises(InvalidSignature):
        check_time(signature, now_ms=NOW_MS - SKEW_MS - 1)


def test_the_day_of_the_credential_is_that_of_the_request() -> None:
    request = by_botocore()
    day = found(request).day.encode()
    with pytest.raises(InvalidSignature, match="credential is of"):
        read(with_authorization(request, b"/" + day + b"/", b"/20200101/"))


def test_the_date_header_serves_where_x_amz_date_is_not_sent() -> None:
    moment = datetime.fromtimestamp(NOW_MS / 1000, UTC)
    request = by_botocore(headers={"Date": moment.strftime("%a, %d %b %Y %H:%M:%S GMT")})
    assert b"x-amz-date" not in dict(request.headers)
    signature = verify(request)
    assert signature.at_ms == NOW_MS and signature.signed_headers == (b"date", b"host")
    assert found(with_header(request, b"date", signature.timestamp.encode())).at_ms == NOW_MS
    for wrong in (b"yesterday", b"Mon, 99 Feb 2026 00:00:00 GMT"):
        with pytest.raises(IncompleteSignature):
            read(with_header(request, b"date", wrong))


def test_a_date_must_be_signed_and_be_one() -> None:
    request = by_botocore()
    with pytest.raises(InvalidSignature, match="Date is signed"):
        read(with_authorization(request, b"host;x-amz-date", b"host"))
    now = found(request).timestamp.encode()
    for wrong in (b"yesterday", b"20261321T000000Z", now + b"x", now[:-1], now[:-3] + b"Z", now[:-1] + b"+00:00"):
        with pytest.raises(IncompleteSignature, match="date"):
            read(with_header(request, b"x-amz-date", wrong))


# What is no signature.


@pytest.mark.parametrize("missing", [b"Credential", b"SignedHeaders", b"Signature"])
def test_a_header_without_a_part_is_incomplete(missing: bytes) -> None:
    with pytest.raises(IncompleteSignature, match=missing.decode()):
        read(with_authorization(by_botocore(), missing + b"=", b"X="))


@pytest.mark.parametrize(
    "value",
    [b"Bearer abc", b"AWS4-HMAC-SHA256", b"", b"AWS4-HMAC-SHA512 Credential=a", b"Basic QTpC", b"AWS4-HMAC-SHA256 ,,="],
)
def test_another_authorization_is_incomplete(value: bytes) -> None:
    with pytest.raises(IncompleteSignature):
        read(with_header(by_botocore(), b"authorization", value))


def test_two_authorizations_are_none() -> None:
    request = by_botocore()
    with pytest.raises(IncompleteSignature, match="several"):
        read(replace(request, headers=[*request.headers, (b"authorization", authorization(request))]))


def test_a_header_comes_before_a_query() -> None:
    signed = by_botocore(b"", presigned=300)
    with pytest.raises(IncompleteSignature):
        read(with_header(signed, b"authorization", b"Bearer abc"))


@pytest.mark.parametrize("name", ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders"])
def test_a_query_without_a_part_is_incomplete(name: str) -> None:
    request = by_botocore(b"", presigned=300)
    with pytest.raises(IncompleteSignature, match=name):
        read(replace(request, query=request.query.replace(f"X-Amz-{name}=".encode(), b"X=")))


def test_a_query_without_its_signature_is_incomplete() -> None:
    request = by_botocore(b"", presigned=300)
    with pytest.raises(IncompleteSignature, match="X-Amz-Signature"):
        read(replace(request, query=request.query.replace(b"X-Amz-Signature=", b"X=")))


@pytest.mark.parametrize("expires", [b"0", b"-1", b"604801", b"9999999", b"abc", b""])
def test_a_query_lives_between_a_second_and_a_week(expires: bytes) -> None:
    request = by_botocore(b"", presigned=300)
    with pytest.raises(IncompleteSignature, match="Expires"):
        read(replace(request, query=request.query.replace(b"Expires=300", b"Expires=" + expires)))
    assert found(by_botocore(b"", presigned=MAX_EXPIRES_SECONDS)).expires_seconds == 604_800


def test_a_field_of_the_query_that_comes_twice_is_refused() -> None:
    request = by_botocore(b"", presigned=300)
    with pytest.raises(IncompleteSignature, match="several"):
        read(replace(request, query=request.query + b"&X-Amz-Expires=604800"))


def test_another_algorithm_in_the_query_is_refused() -> None:
    request = by_botocore(b"", presigned=300)
    with pytest.raises(IncompleteSignature, match="Algorithm"):
        read(replace(request, query=request.query.replace(b"HMAC-SHA256", b"HMAC-SHA512")))


def test_a_signature_for_another_service_is_refused() -> None:
    with pytest.raises(InvalidSignature, match="scoped"):
        read(by_botocore(service="s3"))


def test_an_access_key_may_hold_a_slash() -> None:
    request = with_authorization(by_botocore(), f"Credential={KEY}/".encode(), b"Credential=a/b/")
    assert found(request).access_key == "a/b"


def test_fields_that_are_not_awss_may_come_twice() -> None:
    verify(by_botocore(b"", query="a=1&a=2", presigned=300), b"")


def test_a_credential_has_five_parts() -> None:
    with pytest.raises(IncompleteSignature, match="credential"):
        read(with_authorization(by_botocore(), f"Credential={KEY}/".encode(), b"Credential=/"))
    with pytest.raises(IncompleteSignature, match="credential"):
        read(with_authorization(by_botocore(), f"Credential={KEY}/".encode(), b"Credential="))


def test_the_host_must_be_signed_and_nothing_twice() -> None:
    request = by_botocore()
    for listed in (b"x-amz-date", b"host;x-amz-date;host", b"host;" * MAX_SIGNED_HEADERS + b"x-amz-date"):
        with pytest.raises(InvalidSignature, match="headers"):
            read(with_authorization(request, b"host;x-amz-date", listed))


def test_the_signature_is_of_64_digits() -> None:
    request = by_botocore()
    with pytest.raises(IncompleteSignature, match="64"):
        read(with_header(request, b"authorization", authorization(request)[:-1]))


def test_a_query_has_a_bound() -> None:
    request = by_botocore(b"", presigned=300)
    with pytest.raises(IncompleteSignature, match="fields"):
        read(replace(request, query=request.query + b"&a=1" * MAX_QUERY_FIELDS))
