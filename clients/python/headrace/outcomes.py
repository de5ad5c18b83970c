"""What became of a publish, in one word: for applications that want a status and no exceptions. Pure."""

from enum import StrEnum

from headrace.errors import Forbidden, HeadraceError, NoSubscriber, Unauthorized
from headrace.messages import Published


class Outcome(StrEnum):
    OK = "OK"
    """It is in the log, once."""
    FAILED = "FAILED"
    """It is not in the log, and will not be."""
    DENIED = "DENIED"
    """The token does not allow it; it is not in the log."""
    NO_SUBSCRIBER = "NO_SUBSCRIBER"
    """Nobody would get it, and the project refuses such publishes; it is not in the log."""
    TIMEOUT = "TIMEOUT"
    """The client gave up waiting: it may be in the log, or not. `Client.retry` is safe."""


def outcome_of(result: Published | HeadraceError) -> Outcome:
    """Return the word for what a publish returned or raised."""
    if isinstance(result, Published):
        return Outcome.OK
    if result.maybe_stored:
        return Outcome.TIMEOUT
    if isinstance(result, Forbidden | Unauthorized):
        return Outcome.DENIED
    return Outcome.NO_SUBSCRIBER if isinstance(result, NoSubscriber) else Outcome.FAILED
