"""What the Channel API refuses, and how its pages are told: an HTTP status whose reason phrase is the description."""

from dataclasses import dataclass

from broker.errors import CallerError, Expired, HeadraceError, ServerError, Unauthorized


class InvalidToken(Unauthorized):
    """Not a token of ours, or changed on its way."""

    sentence = "Invalid token."


class TokenTimedOut(Expired):
    sentence = "Token timed out."


class InvalidClientId(CallerError):
    """INVALID_CHANNEL_KEY (2) of the service."""

    code = "invalid_client_id"
    sentence = ""


class BadMessage(CallerError):
    """BAD_MESSAGE (3) of the service."""

    code = "bad_message"
    sentence = ""


class InvalidDuration(CallerError):
    """INVALID_CHANNEL_TOKEN_DURATION (4) of the service."""

    code = "invalid_duration"
    sentence = ""


class Replaced(CallerError):
    """A newer connection of the same client id has taken this one's place."""

    code = "replaced"
    sentence = "Another connection has taken over."


@dataclass(frozen=True, slots=True)
class Told:
    """An error as a page gets it: `{code, description}` of `onerror`."""

    status: int
    description: str
    """Plus signs for spaces, as the original's reason phrases have."""


def told(error: HeadraceError) -> Told:
    """Return what a page is told of `error`: contracts/channel 5 and 6."""
    if isinstance(error, TokenTimedOut):
        return Told(401, "Token+timed+out.")
    if isinstance(error, Unauthorized):
        return Told(401, "Invalid+token.")
    if isinstance(error, Replaced):
        return Told(409, "Another+connection+has+taken+over.")
    if isinstance(error, ServerError):
        return Told(503, "Service+unavailable.")
    return Told(400, "Bad+request.")
