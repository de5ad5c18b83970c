"""Every refusal of Headrace, one class a stable code.

Whose fault it was shows in the branch: `CallerError` (fix the request), `ServerError` (come back later).
Each face translates these into its own dialect; none of them compares texts.
"""

from typing import ClassVar


class HeadraceError(Exception):
    """A refusal with a stable `code` word, a sentence for a person, and perhaps a time to come back, in ms."""

    code: ClassVar[str] = "error"
    sentence: ClassVar[str] = "The request failed."

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
    """A frame or body that cannot be understood: not JSON, a missing field, a wrong type."""

    code = "invalid_request"
    sentence = "The request is not valid."


class InvalidSchema(InvalidRequest):
    """A document that is no schema of its type, or one beyond the bounds."""

    code = "invalid_schema"
    sentence = "The schema is not valid."


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
    """A verb of one kind of subscription on one of the other kind, or a change of its kind."""

    code = "wrong_kind"
    sentence = "The subscription is not of the kind that this needs."


class OutOfBounds(CallerError):
    code = "out_of_bounds"
    sentence = "The log has no such place."


class UnknownSchema(CallerError):
    code = "unknown_schema"
    sentence = "The schema does not exist."


class AlreadyExists(CallerError):
    code = "already_exists"
    sentence = "It exists already."


class AlreadySubscribed(CallerError):
    code = "already_subscribed"
    sentence = "This connection follows that topic already."


class NotSubscribed(CallerError):
    code = "not_subscribed"
    sentence = "This connection does not follow that topic."


class Unauthorized(CallerError):
    """No credential, or one that is unknown, malformed or expired."""

    code = "unauthorized"
    sentence = "A valid token is needed."


class Expired(Unauthorized):
    """A credential that was valid once. To a caller the same refusal; a face may tell it apart to end a connection."""

    sentence = "The token has expired."


class Forbidden(CallerError):
    code = "forbidden"
    sentence = "The token does not grant this."


class KeyConflict(CallerError):
    """An idempotency key came back with another payload."""

    code = "key_conflict"
    sentence = "This idempotency key was used for another message."


class StaleSequence(CallerError):
    """A publisher's sequence number lies below the window whose outcomes are still known."""

    code = "stale_sequence"
    sentence = "This sequence number is older than the window that is remembered."


class NoSubscriber(CallerError):
    """Nobody follows the topic and no subscription keeps a place in it, and its project wants to be told."""

    code = "no_subscriber"
    sentence = "Nobody is subscribed to the topic."


class Unsupported(CallerError):
    code = "unsupported"
    sentence = "This server does not offer that."


class LimitExceeded(CallerError):
    """A bound that the caller can stay below: a rate, a number of subscriptions or connections."""

    code = "limit_exceeded"
    sentence = "A limit is exceeded."


class ServerError(HeadraceError):
    """Nothing was wrong with the request."""


class Unavailable(ServerError):
    """Redis could not be asked. Nothing was changed; `retry_ms` says when to come back."""

    code = "unavailable"
    sentence = "The log cannot be reached at the moment."


class UnknownOutcome(ServerError):
    """The append was sent and no answer came. With an idempotency key a retry is safe, on any node."""

    code = "unknown_outcome"
    sentence = "It is not known whether this was stored. Retry with the same idempotency key."


class OutOfMemory(ServerError):
    code = "out_of_memory"
    sentence = "The log has no memory left. Reads, acks and trims go on."
