"""The log listener: lines of its level and above."""

import logging
from collections.abc import Iterator

import pytest

from headrace.migratorydata.logs import LogLevel, LogListening


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    logger = logging.getLogger("headrace")
    before = logger.level
    yield
    logger.setLevel(before)


def test_lines_come_with_their_level_until_it_is_closed() -> None:
    told: list[tuple[str, LogLevel]] = []

    class Listener:
        def onLog(self, log: str, level: LogLevel) -> None:
            told.append((log, level))

    listening = LogListening(Listener(), LogLevel.INFO)
    logger = logging.getLogger("headrace")
    logger.debug("quiet")
    logger.info("one %d", 1)
    logger.warning("two")
    logger.error("three")
    listening.close()
    logger.error("four")
    assert told == [("one 1", LogLevel.INFO), ("two", LogLevel.WARN), ("three", LogLevel.ERROR)]


def test_what_is_no_listener_is_refused() -> None:
    with pytest.raises(AttributeError):
        LogListening(object(), LogLevel.INFO)
