"""ARGO's error envelope, `{"error": {"code", "message", "status"}}`; `code` equals the HTTP status (contract ams.md 3).

Its client takes the code from the body and matches some texts, so those are quoted here to the letter. Where its user
asked for retries, it retries a publish on 500, 502, 503 and 504. Hence: nothing was stored and coming back helps: 503.
The outcome is unknown: 504, told apart from "not stored" by whoever looks; with an `Idempotency-Key` a retry cannot
duplicate, without one it can, as everywhere. Final refusals are 4xx, which are never retried.
"""

from collections.abc import Mapping, Sequence

import orjson

from broker.errors import (
    AlreadyExists,
    Forbidden,
    HeadraceError,
    InvalidMessage,
    InvalidName,
    InvalidRequest,
    KeyConflict,
    LimitExceeded,
    NoSubscriber,
    OutOfBounds,
    OutOfMemory,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnknownOutcome,
    UnknownProject,
    UnknownSchema,
    UnknownSubscription,
    UnknownTopic,
    Unsupported,
    WrongKind,
)
from broker.store.subscriptions import Settled
from broker.users import AlreadyMember, NotMember, UnknownMembers, UnknownRegistration, UnknownUser
from gateway.asgi import Answer, HeaderList, retry_after

OUT_OF_MEMORY_RETRY_MS = 10_000
"""Retention frees memory in the background; sooner there is hardly any change."""


class ArgoRefusal(HeadraceError):
    """A refusal whose status, word and text the contract fixes. `code` is our own stable word, for metrics."""

    code = "argo"

    def __init__(self, status: int, word: str, message: str, *, headers: HeaderList | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.word = word
        self.headers = headers or []


_WORDS: dict[type[HeadraceError], tuple[int, str]] = {
    InvalidName: (400, "INVALID_ARGUMENT"),
    InvalidMessage: (400, "INVALID_ARGUMENT"),
    InvalidRequest: (400, "INVALID_ARGUMENT"),
    Unsupported: (400, "INVALID_ARGUMENT"),
    Unauthorized: (401, "UNAUTHORIZED"),
    Forbidden: (403, "FORBIDDEN"),
    UnknownProject: (404, "NOT_FOUND"),
    UnknownTopic: (404, "NOT_FOUND"),
    UnknownSchema: (404, "NOT_FOUND"),
    UnknownSubscription: (404, "NOT_FOUND"),
    WrongKind: (409, "CONFLICT"),
    OutOfBounds: (409, "CONFLICT"),
    UnknownUser: (404, "NOT_FOUND"),
    UnknownMembers: (404, "NOT_FOUND"),
    UnknownRegistration: (404, "NOT_FOUND"),
    NotMember: (403, "FORBIDDEN"),
    AlreadyMember: (409, "CONFLICT"),
    KeyConflict: (409, "CONFLICT"),
    NoSubscriber: (409, "CONFLICT"),
    AlreadyExists: (409, "ALREADY_EXISTS"),
    TooLarge: (413, "INVALID_ARGUMENT"),
    LimitExceeded: (429, "RESOURCE_EXHAUSTED"),
    OutOfMemory: (503, "RESOURCE_EXHAUSTED"),
    Unavailable: (503, "UNAVAILABLE"),
    UnknownOutcome: (504, "UNKNOWN_OUTCOME"),
}

_TEXTS: dict[type[HeadraceError], str] = {
    Unauthorized: "Unauthorized",
    Forbidden: "Access to this resource is forbidden",
    UnknownProject: "project doesn't exist",
    UnknownTopic: "Topic doesn't exist",
    UnknownSchema: "Schema doesn't exist",
    UnknownSubscription: "Subscription doesn't exist",
    UnknownUser: "User doesn't exist",
    UnknownRegistration: "User registration doesn't exist",
    NotMember: "Access to this resource is forbidden. User is not a member of the project",
    AlreadyMember: "User is already a member of the project",
    TooLarge: "Message size is too large",
}
"""Texts that the contract fixes, whatever the reason says."""


def envelope(
    status: int,
    word: str,
    message: str,
    headers: HeaderList | None = None,
    *,
    listed: Sequence[Mapping[str, str]] = (),
) -> Answer:
    """`listed` are the envelope's optional `errors`, each with message, domain and reason."""
    error: dict[str, object] = {"code": status, "message": message, "status": word}
    if listed:
        error["errors"] = listed
    return Answer(status, orjson.dumps({"error": error}), headers or [])


def answer_to(refusal: HeadraceError) -> Answer:
    """Return the envelope of any refusal."""
    if isinstance(refusal, LeasesOver):
        listed = [{"message": "The lease is over.", "domain": i, "reason": r} for i, r in refusal.refused.items()]
        return envelope(refusal.status, refusal.word, refusal.reason, listed=listed)
    if isinstance(refusal, ArgoRefusal):
        return envelope(refusal.status, refusal.word, refusal.reason, refusal.headers)
    kind = next((k for k in type(refusal).__mro__ if k in _WORDS), None)
    if kind is None:
        return backend_error()
    status, word = _WORDS[kind]
    retry_ms = refusal.retry_ms
    if retry_ms is None and isinstance(refusal, OutOfMemory):
        retry_ms = OUT_OF_MEMORY_RETRY_MS
    return envelope(status, word, _TEXTS.get(kind, refusal.reason), retry_after(retry_ms))


def backend_error() -> Answer:
    """Return the answer to a fault of our own."""
    return envelope(500, "INTERNAL_SERVER_ERROR", "Backend Error")


def invalid_name(variable: str) -> ArgoRefusal:
    """`variable` is the path's, such as `project` or `topic`."""
    return ArgoRefusal(400, "INVALID_ARGUMENT", f"Invalid {variable} name")


def invalid_arguments(what: str) -> ArgoRefusal:
    return ArgoRefusal(400, "INVALID_ARGUMENT", f"Invalid {what} Arguments")


def invalid_body() -> ArgoRefusal:
    return ArgoRefusal(400, "BAD_REQUEST", "Invalid Request Body")


def invalid(message: str) -> ArgoRefusal:
    return ArgoRefusal(400, "INVALID_ARGUMENT", message)


def conflict(message: str) -> ArgoRefusal:
    return ArgoRefusal(409, "CONFLICT", message)


def ack_timeout() -> ArgoRefusal:
    return ArgoRefusal(408, "TIMEOUT", "ack timeout")


class LeasesOver(ArgoRefusal):
    """Some leases of a shared subscription are in other hands, or settled already: the ids stand in `errors`."""

    def __init__(self, refused: Mapping[str, str]) -> None:
        super().__init__(408, "TIMEOUT", "ack timeout")
        self.refused = refused


def leases_over(ack_ids: Sequence[object], settled: Sequence[Settled]) -> LeasesOver:
    """Return the refusal that names those of `ack_ids` that were not settled."""
    pairs = zip(ack_ids, settled, strict=True)
    return LeasesOver({str(ack_id): each.value for ack_id, each in pairs if each is not Settled.OK})


def already_exists(what: str) -> ArgoRefusal:
    return ArgoRefusal(409, "ALREADY_EXISTS", f"{what} already exists")


def unknown_route() -> ArgoRefusal:
    return ArgoRefusal(404, "NOT_FOUND", "404 page not found")


def wrong_verb(allowed: list[str]) -> ArgoRefusal:
    header = (b"allow", ", ".join(allowed).encode())
    return ArgoRefusal(405, "METHOD_NOT_ALLOWED", "405 method not allowed", headers=[header])
