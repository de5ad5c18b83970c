"""Every failure that this library raises, one class a stable code of the protocol.

Whose fault it was shows in the branch: `CallerError` (fix the request), `ServerError` (the library retries these
itself until the publish's timeout), `ClientError` (raised here, no server said it). Catch classes, never texts.
"""


class HeadraceError(Exception):
    """A failure with a stable `code` word, a `reason` for a person and perhaps `retry_ms`, a time to come back."""

    code: str = "error"
    sentence: str = "The request failed."
    maybe_stored: bool = False
    """Of a publish: whether the message may be in the log all the same."""
    unsettled: object = None
    """Of a publish whose outcome is unknown: what `Client.retry` sends again."""

    def __init__(self, reason: str | None = None, *, retry_ms: int | None = None) -> None:
        self.reason = reason if reason is not None else self.sentence
        self.retry_ms = retry_ms
        super().__init__(self.reason)

    def __str__(self) -> str:
        return self.reason


class CallerError(HeadraceError):
    """The request cannot succeed as it stands, and changed nothing."""


class InvalidName(CallerError):
    code = "invalid_name"
    sentence = "The name is not valid."


class InvalidMessage(CallerError):
    code = "invalid_message"
    sentence = "The message is not valid."


class InvalidRequest(CallerError):
    code = "invalid_request"
    sentence = "The request is not valid."


class UnknownOperation(CallerError):
    code = "unknown_op"
    sentence = "This operation does not exist."


class TooLarge(CallerError):
    code = "too_large"
    sentence = "The message is too large."


class UnknownTopic(CallerError):
    code = "unknown_topic"
    sentence = "The topic does not exist."


class UnknownProject(CallerError):
    code = "unknown_project"
    sentence = "The project does not exist."


class UnknownSubscription(CallerError):
    code = "unknown_subscription"
    sentence = "The subscription does not exist."


class WrongKind(CallerError):
    """Only `shared` subscriptions are consumed; a cursor is pulled over HTTP."""

    code = "wrong_kind"
    sentence = "The subscription is not of the kind that this needs."


class LeaseLost(CallerError):
    """A delivery was settled after its lease had ended: the message may be in other hands, or done."""

    code = "lease_lost"
    sentence = "The lease of this delivery is over."


class AlreadyExists(CallerError):
    code = "already_exists"
    sentence = "It exists already."


class AlreadySubscribed(CallerError):
    code = "already_subscribed"
    sentence = "This client follows that topic already."


class NotSubscribed(CallerError):
    code = "not_subscribed"
    sentence = "This client does not follow that topic."


class Unauthorized(CallerError):
    """No credential, or one that is unknown, malformed or expired."""

    code = "unauthorized"
    sentence = "A valid token is needed."


class Forbidden(CallerError):
    code = "forbidden"
    sentence = "The token does not grant this."


class KeyConflict(CallerError):
    """An idempotency key came back with another payload."""

    code = "key_conflict"
    sentence = "This idempotency key was used for another message."


class NoSubscriber(CallerError):
    """Nobody would get the message, and its project refuses such publishes. Nothing was stored."""

    code = "no_subscriber"
    sentence = "Nobody is subscribed to the topic."


class StaleSequence(CallerError):
    """A publish was resent so late that its outcome is no longer remembered: it may be in the log, or not."""

    code = "stale_sequence"
    sentence = "This sequence number is older than the window that is remembered."
    maybe_stored = True


class Unsupported(CallerError):
    code = "unsupported"
    sentence = "This server does not offer that."


class LimitExceeded(CallerError):
    code = "limit_exceeded"
    sentence = "A limit is exceeded."


class ServerError(HeadraceError):
    """Nothing was wrong with the request."""


class Unavailable(ServerError):
    """The server cannot reach its log. Nothing was changed."""

    code = "unavailable"
    sentence = "The log cannot be reached at the moment."


class UnknownOutcome(ServerError):
    """The append was sent and no answer came. The library repeats it under the same idempotency key."""

    code = "unknown_outcome"
    sentence = "It is not known whether this was stored."
    maybe_stored = True


class OutOfMemory(ServerError):
    code = "out_of_memory"
    sentence = "The log has no memory left."


class ClientError(HeadraceError):
    """Raised by this library; no server said it."""


class ConnectionFailed(ClientError):
    """No server could be reached in the time given. The client goes on trying."""

    code = "connection_failed"
    sentence = "No server could be reached."


class PublishTimeout(ClientError):
    """The time for a publish is over. Where `maybe_stored`, it may be in the log, and `Client.retry` is safe."""

    code = "publish_timeout"
    sentence = "No answer came in time; it is not known whether the message was stored."


class SettleTimeout(ClientError):
    """No server answered to an ack, nack or extend. Without an ack the message is delivered again."""

    code = "settle_timeout"
    sentence = "No answer came in time; it is not known whether the delivery was settled."


class QueueFull(ClientError):
    """Too many publishes wait for an answer (`publish` waits for room, `publish_nowait` raises this)."""

    code = "queue_full"
    sentence = "Too many publishes wait for an answer."


class Dropped(ClientError):
    """The queue was full, and a newer publish took the place of this one, as `when_full="drop"` wants it."""

    code = "dropped"
    sentence = "The message gave way to a newer one and was never sent."


class ClientClosed(ClientError):
    code = "client_closed"
    sentence = "The client is closed."


class BadFrame(ClientError):
    """The server sent what the protocol does not know. The library drops the connection and comes back."""

    code = "bad_frame"
    sentence = "The server sent a frame that cannot be understood."


def _codes(root: type[HeadraceError]) -> dict[str, type[HeadraceError]]:
    found = {root.code: root} if "code" in vars(root) else {}
    for child in root.__subclasses__():
        found |= _codes(child)
    return found


_BY_CODE = _codes(CallerError) | _codes(ServerError)

RETRIED_CODES = frozenset({Unavailable.code, UnknownOutcome.code})
"""Repeated by the library even when the answer names no time to come back."""


def error_of(code: str, reason: str, *, retry_ms: int | None = None) -> HeadraceError:
    """Return the error that a server's `error` frame stands for; one with an unknown code keeps that code."""
    error = _BY_CODE.get(code, HeadraceError)(reason, retry_ms=retry_ms)
    error.code = code
    return error


def is_temporary(error: HeadraceError) -> bool:
    """Tell whether the same request is to be sent again."""
    return error.retry_ms is not None or error.code in RETRIED_CODES
