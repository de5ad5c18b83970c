"""When a failed call is repeated. Pure: returns the waits, sleeps none of them."""

from collections.abc import Iterator

MAX_WAIT_S = 3600.0
"""However often the wait has doubled: an hour."""

MAX_DOUBLINGS = 64


def waits(*, retry: int, retrysleep: float, retrybackoff: float | None) -> Iterator[float]:
    """Yield the seconds before each of `retry` further attempts.

    A backoff factor `f` makes them f/2, f, 2f, 4f ... and takes precedence; else all are `retrysleep`.
    """
    for attempt in range(retry):
        wait = retrybackoff * 2.0 ** (min(attempt, MAX_DOUBLINGS) - 1) if retrybackoff else retrysleep
        yield min(max(wait, 0.0), MAX_WAIT_S)
