"""AWS Signature Version 4, verified: in a header or in a presigned query (contracts/apigateway 5). Pure.

A signature covers method, path, query, the headers that it lists, and the body's digest. `read` finds it in a request,
`check_time` says whether it is of now, `check` whether it was made with the key of `signing_key`. The path is signed as
it stood in the request line, percent-encoded once more: that one rule verifies boto3, both JavaScript SDKs, aws4 and
awscurl. So nothing here decodes a path.
"""

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from hashlib import sha256
from urllib.parse import unquote_to_bytes

from gateway.apigateway.errors import IncompleteSignature, InvalidSignature

ALGORITHM = b"AWS4-HMAC-SHA256"
SERVICE = "execute-api"
TERMINATOR = "aws4_request"

SKEW_MS = 5 * 60 * 1000
"""How far the clock of a caller may be from ours."""

MAX_EXPIRES_SECONDS = 604_800
"""AWS lets a presigned URL live for seven days."""

MAX_SIGNED_HEADERS = 100
MAX_QUERY_FIELDS = 100

UNSIGNED_PAYLOAD = b"UNSIGNED-PAYLOAD"
"""In place of the body's digest: the caller did not sign the body."""

AUTHORIZATION = b"authorization"
DIGEST = b"x-amz-content-sha256"

_RESERVED = re.compile(rb"[^A-Za-z0-9_.~-]")
_NOT_IN_A_PATH = re.compile(rb"[^A-Za-z0-9_.~/-]")
"""What is percent-encoded: all but RFC 3986's unreserved characters, and a path's slashes."""
_TIME = re.compile(r"(\d{8})T\d{6}Z", re.ASCII)
_HEX = re.compile(rb"[0-9a-f]{64}")

HeaderPairs = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, kw_only=True)
class SignedRequest:
    """What is signed of a request but its body. Header names are in lower case, path and query as they were sent."""

    method: str
    raw_path: bytes
    query: bytes
    headers: HeaderPairs

    @cached_property
    def values(self) -> dict[bytes, list[bytes]]:
        """The values of each header, in their order."""
        found: dict[bytes, list[bytes]] = {}
        for name, value in self.headers:
            found.setdefault(name, []).append(value)
        return found


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Signature:
    """A signature as it was presented. Nothing of it is true before `check`."""

    access_key: str
    day: str
    region: str
    timestamp: str
    """ISO 8601 in its basic form, `20240219T071142Z`, as the signature has it."""
    at_ms: int
    expires_seconds: int | None
    """Of a presigned query; None: the signature is good for `SKEW_MS`."""
    token: str | None
    """The session token."""
    signed_headers: tuple[bytes, ...]
    digest: bytes
    """The signature itself, in hexadecimal digits."""


def read(request: SignedRequest) -> Signature | None:
    """Return the request's signature, None where it has none. Raises `IncompleteSignature`, `InvalidSignature`."""
    given = request.values.get(AUTHORIZATION)
    if given:
        return _read_header(request, given)
    if b"X-Amz-" in request.query:
        return _read_query(request)
    return None


def check_time(signature: Signature, *, now_ms: int, skew_ms: int = SKEW_MS) -> None:
    """Raise `InvalidSignature` for a signature of another time, or a presigned query that is over."""
    early = signature.at_ms - now_ms > skew_ms
    if signature.expires_seconds is not None:
        if early:
            raise InvalidSignature(f"Signature not yet current: {signature.timestamp} is still in the future.")
        if now_ms > signature.at_ms + signature.expires_seconds * 1000:
            raise InvalidSignature(
                f"Signature expired: {signature.timestamp} was good for {signature.expires_seconds}s."
            )
    elif early or now_ms - signature.at_ms > skew_ms:
        raise InvalidSignature(
            f"Signature expired: {signature.timestamp} is more than {skew_ms // 1000} seconds from the server's time."
        )


def signing_key(secret: str, *, day: str, region: str) -> bytes:
    """Return the key that a secret access key signs with on `day` (`20240219`) in `region`."""
    key = f"AWS4{secret}".encode()
    for part in (day, region, SERVICE, TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def check(
    signature: Signature, request: SignedRequest, body: bytes, key: bytes, *, unsigned_body: bool = False
) -> None:
    """Raise `InvalidSignature` unless `signature` was made with `key` over this request and body.

    A body that the caller chose not to sign is refused, unless `unsigned_body` allows that.
    """
    digest = _body_digest(request, body, unsigned_body=unsigned_body)
    canonical = canonical_request(request, signature, digest)
    scope = f"{signature.day}/{signature.region}/{SERVICE}/{TERMINATOR}"
    told = f"AWS4-HMAC-SHA256\n{signature.timestamp}\n{scope}\n{sha256(canonical).hexdigest()}"
    expected = hmac.new(key, told.encode(), "sha256").hexdigest()
    if not hmac.compare_digest(expected.encode(), signature.digest):
        raise InvalidSignature


def canonical_request(request: SignedRequest, signature: Signature, body_digest: bytes) -> bytes:
    """Return the bytes whose digest is signed. Raises `InvalidSignature` for a listed header that is missing."""
    headers = [name + b":" + _joined(request, name) for name in signature.signed_headers]
    return b"\n".join(
        (
            request.method.encode(),
            _encoded(request.raw_path, _NOT_IN_A_PATH),
            _canonical_query(request.query),
            *headers,
            b"",
            b";".join(signature.signed_headers),
            body_digest,
        )
    )


def _read_header(request: SignedRequest, given: Sequence[bytes]) -> Signature:
    if len(given) > 1:
        raise IncompleteSignature("There are several Authorization headers.")
    algorithm, _, rest = given[0].strip().partition(b" ")
    if algorithm != ALGORITHM:
        raise IncompleteSignature("The Authorization header is no AWS4-HMAC-SHA256 signature.")
    parts = dict(part.strip().partition(b"=")[::2] for part in rest.split(b","))
    try:
        credential, listed, digest = parts[b"Credential"], parts[b"SignedHeaders"], parts[b"Signature"]
    except KeyError as missing:
        raise IncompleteSignature(f"The Authorization header has no {missing.args[0].decode()}.") from None
    names = _names(listed)
    token = request.values.get(b"x-amz-security-token")
    return _signature(
        credential,
        _timestamp(request, names),
        names,
        digest,
        token=token[0] if token else None,
        expires_seconds=None,
    )


def _read_query(request: SignedRequest) -> Signature | None:
    fields: dict[bytes, bytes] = {}
    for name, value in _query_fields(request.query):
        if name.startswith(b"X-Amz-"):
            if name in fields:
                raise IncompleteSignature(f"The query has several {name.decode('ascii', 'replace')}.")
            fields[name] = value
    if b"X-Amz-Signature" not in fields and b"X-Amz-Algorithm" not in fields:
        return None
    try:
        if fields[b"X-Amz-Algorithm"] != ALGORITHM:
            raise IncompleteSignature("X-Amz-Algorithm is not AWS4-HMAC-SHA256.")
        return _signature(
            fields[b"X-Amz-Credential"],
            fields[b"X-Amz-Date"],
            _names(fields[b"X-Amz-SignedHeaders"]),
            fields[b"X-Amz-Signature"],
            token=fields.get(b"X-Amz-Security-Token"),
            expires_seconds=_expires(fields[b"X-Amz-Expires"]),
        )
    except KeyError as missing:
        raise IncompleteSignature(f"The query has no {missing.args[0].decode()}.") from None


def _signature(
    credential: bytes,
    timestamp: bytes,
    names: tuple[bytes, ...],
    digest: bytes,
    *,
    token: bytes | None,
    expires_seconds: int | None,
) -> Signature:
    access_key, day, region = _scope(credential)
    time = timestamp.decode("ascii", "replace")
    at_ms = _read_time(time)
    if not time.startswith(day):
        raise InvalidSignature(f"The credential is of {day}, the request of {time[:8]}.")
    if not _HEX.fullmatch(digest):
        raise IncompleteSignature("The signature is not of 64 hexadecimal digits.")
    return Signature(
        access_key=access_key,
        day=day,
        region=region,
        timestamp=time,
        at_ms=at_ms,
        expires_seconds=expires_seconds,
        token=None if token is None else token.decode("latin-1"),
        signed_headers=names,
        digest=digest,
    )


def _scope(credential: bytes) -> tuple[str, str, str]:
    """Return access key, day and region. An access key may hold a slash, the rest not."""
    parts = credential.decode("utf-8", "replace").rsplit("/", 4)
    if len(parts) != 5 or not parts[0]:
        raise IncompleteSignature("The credential is not of the form key/day/region/service/aws4_request.")
    access_key, day, region, service, terminator = parts
    if service != SERVICE or terminator != TERMINATOR:
        raise InvalidSignature(f"The credential is scoped to {service}/{terminator}, not to {SERVICE}/{TERMINATOR}.")
    return access_key, day, region


def _names(listed: bytes) -> tuple[bytes, ...]:
    names = tuple(listed.split(b";"))
    if len(names) > MAX_SIGNED_HEADERS or b"host" not in names or len(set(names)) != len(names):
        raise InvalidSignature("The signed headers are too many, repeated or without host.")
    return names


def _timestamp(request: SignedRequest, names: Sequence[bytes]) -> bytes:
    """Return the signed time: that of `X-Amz-Date`, else of `Date`."""
    if b"x-amz-date" in names:
        return _joined(request, b"x-amz-date")
    if b"date" not in names:
        raise InvalidSignature("Neither X-Amz-Date nor Date is signed.")
    text = _joined(request, b"date").decode("latin-1")
    if _TIME.fullmatch(text):
        return text.encode()
    try:
        return parsedate_to_datetime(text).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ").encode()
    except (ValueError, OverflowError):
        raise IncompleteSignature("The date is not valid.") from None


def _read_time(text: str) -> int:
    try:
        if not _TIME.fullmatch(text):
            raise ValueError
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise IncompleteSignature("The date is not of the form YYYYMMDD'T'HHMMSS'Z'.") from None
    return int(moment.timestamp()) * 1000


def _expires(value: bytes) -> int:
    if not value.isdigit() or len(value) > 6 or not 1 <= int(value) <= MAX_EXPIRES_SECONDS:
        raise IncompleteSignature(f"X-Amz-Expires is not between 1 and {MAX_EXPIRES_SECONDS} seconds.")
    return int(value)


def _body_digest(request: SignedRequest, body: bytes, *, unsigned_body: bool) -> bytes:
    told = request.values.get(DIGEST)
    if told == [UNSIGNED_PAYLOAD] and unsigned_body:
        return UNSIGNED_PAYLOAD
    digest = sha256(body).hexdigest().encode()
    if told and told != [digest]:
        raise InvalidSignature("X-Amz-Content-Sha256 is not the digest of the body.")
    return digest


def _canonical_query(query: bytes) -> bytes:
    if not query:
        return b""
    fields = [
        (_encoded(name, _RESERVED), _encoded(value, _RESERVED))
        for name, value in _query_fields(query)
        if name != b"X-Amz-Signature"
    ]
    return b"&".join(name + b"=" + value for name, value in sorted(fields))


def _query_fields(query: bytes) -> list[tuple[bytes, bytes]]:
    pairs = query.split(b"&", MAX_QUERY_FIELDS)
    if len(pairs) > MAX_QUERY_FIELDS:
        raise IncompleteSignature(f"The query has more than {MAX_QUERY_FIELDS} fields.")
    fields = [pair.partition(b"=") for pair in pairs if pair]
    return [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in fields]


def _joined(request: SignedRequest, name: bytes) -> bytes:
    """Return a header's values as they are signed: joined, without spaces around and with single ones inside."""
    values = request.values.get(name)
    if not values:
        raise InvalidSignature(f"The signed header {name.decode('latin-1')} is missing.")
    return b",".join([b" ".join(value.split()) for value in values])


def _encoded(raw: bytes, unsafe: re.Pattern[bytes]) -> bytes:
    return unsafe.sub(lambda found: b"%%%02X" % found[0][0], raw)
