import pytest

from headrace.errors import (
    ClientClosed,
    Dropped,
    Forbidden,
    HeadraceError,
    NoSubscriber,
    PublishTimeout,
    QueueFull,
    StaleSequence,
    Unauthorized,
    UnknownOutcome,
)
from headrace.messages import Published
from headrace.outcomes import Outcome, outcome_of


def unsure(error: HeadraceError) -> HeadraceError:
    error.maybe_stored = True
    return error


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        (Published(1, 2), Outcome.OK),
        (Published(1, 2, True), Outcome.OK),
        (Forbidden(), Outcome.DENIED),
        (Unauthorized(), Outcome.DENIED),
        (NoSubscriber(), Outcome.NO_SUBSCRIBER),
        (QueueFull(), Outcome.FAILED),
        (Dropped(), Outcome.FAILED),
        (PublishTimeout(), Outcome.FAILED),
        (unsure(PublishTimeout()), Outcome.TIMEOUT),
        (ClientClosed(), Outcome.FAILED),
        (unsure(ClientClosed()), Outcome.TIMEOUT),
        (unsure(Forbidden()), Outcome.TIMEOUT),
        (UnknownOutcome(), Outcome.TIMEOUT),
        (StaleSequence(), Outcome.TIMEOUT),
    ],
)
def test_each_outcome_is_true(result, outcome) -> None:
    assert outcome_of(result) is outcome
