"""The requests of one client: their numbers, and the frames that wait to be written. Pure."""

from headrace.dialects import Dialect, Frame

NO_NUMBER = -1
"""Stands for the `id` of a frame that has none."""


class Requests:
    """Numbers rise for the client's life, so that an answer from an earlier connection matches nothing."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._number = 0
        self._frames: list[bytes] = []
        self.connected = False

    def open(self) -> None:
        self.connected, self._frames = True, []

    def close(self) -> None:
        self.connected, self._frames = False, []

    def peek(self) -> int:
        """Return the number that `number` gives next."""
        return self._number + 1

    def number(self) -> int:
        self._number += 1
        return self._number

    def send(self, frame: Frame, *, number: int | None = None) -> None:
        """Queue a frame; nothing without a connection. Without a number the answer is of no interest."""
        if self.connected:
            self._frames.append(self._dialect.encode(frame if number is None else frame | {"id": number}))

    def take(self) -> list[bytes]:
        """Return the frames to write now, once."""
        frames, self._frames = self._frames, []
        return frames


def number_of(frame: Frame) -> int:
    number = frame.get("id", NO_NUMBER)
    return number if isinstance(number, int) else NO_NUMBER
