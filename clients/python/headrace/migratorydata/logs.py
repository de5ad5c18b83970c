"""The application's log listener, on the library's own logger."""

import logging
from enum import IntEnum
from typing import Any

from headrace.migratorydata.naming import camel_case

logger = logging.getLogger("headrace")


class LogLevel(IntEnum):
    """The least serious lines that are wanted; the values are those of `logging`."""

    ERROR = logging.ERROR
    WARN = logging.WARNING
    INFO = logging.INFO
    DEBUG = logging.DEBUG
    TRACE = 5


class LogListening(logging.Handler):
    """Hands lines of the logger `headrace` to a listener until it is closed."""

    def __init__(self, listener: Any, level: LogLevel) -> None:
        super().__init__(level)
        self._tell = getattr(listener, camel_case("on_log"), None) or listener.on_log
        logger.addHandler(self)
        if logger.getEffectiveLevel() > level:
            logger.setLevel(level)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._tell(record.getMessage(), _level_of(record.levelno))
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        logger.removeHandler(self)
        super().close()


def _level_of(number: int) -> LogLevel:
    return next((level for level in LogLevel if number >= level), LogLevel.TRACE)
