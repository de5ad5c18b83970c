"""The waits between attempts."""

from itertools import islice

import pytest

from headrace.ams.retries import MAX_WAIT_S, waits


@pytest.mark.parametrize(
    ("retry", "retrysleep", "retrybackoff", "expected"),
    [
        (0, 60, None, []),
        (3, 5, None, [5, 5, 5]),
        (4, 60, 2, [1, 2, 4, 8]),
        (2, 60, 0.5, [0.25, 0.5]),
        (-1, 60, None, []),
        (1, -5, None, [0]),
        (1, 10**9, None, [MAX_WAIT_S]),
    ],
)
def test_waits(retry: int, retrysleep: float, retrybackoff: float | None, expected: list[float]) -> None:
    assert list(waits(retry=retry, retrysleep=retrysleep, retrybackoff=retrybackoff)) == expected


def test_a_backoff_of_any_length_stays_bounded() -> None:
    last = list(islice(waits(retry=5000, retrysleep=0, retrybackoff=1.5), 5000))[-1]
    assert last == MAX_WAIT_S
