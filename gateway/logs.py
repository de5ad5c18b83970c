"""Logs: plain lines on a terminal, one JSON object an event otherwise; nothing secret gets through.

Redaction is by construction: every record of every library ends in one handler whose formatter takes out whatever
looks like a credential, and the node's own secrets wherever they stand, tracebacks included. A caller's line breaks and
control characters are escaped, so that nobody writes a log line of their own.
"""

import logging
import re
import sys
import time
from collections.abc import Iterable
from typing import Literal, TextIO

import orjson

Style = Literal["plain", "json"]

MAX_LINE_CHARS = 8192
"""A longer text is cut: a log line is no place for a payload."""

MIN_SECRET_CHARS = 8
"""A shorter secret is not searched for: it would black out ordinary words."""

QUIET = ("uvicorn", "httpx", "httpcore", "asyncio", "websockets", "headrace")
"""Libraries whose everyday remarks are not an operator's; their warnings are."""

_MASK = "…"

_SECRET_FIELD = re.compile(r"(?i)token|secret|password|authorization|api_?key|cookie")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}
"""What every record has; anything else came with `extra=` and is shown."""

_PATTERNS = (
    # In a query string or a body: token=, access_token=, api_key=, key=, secret=, password=, signature=.
    re.compile(r"(?i)((?:\b|[_-])(?:token|key|secret|password|signature)=)[^&\s\"'#]+"),
    # Header lines, also in the repr of a dict or of ASGI's pairs of bytes.
    re.compile(
        r"(?i)((?:authorization|x-api-key|x-amz-security-token)[\"']?\s*[:,=]\s*(?:b?[\"'])?)"
        r"(?:(?:bearer|basic|digest)\s+)?[^\s\"',;]+"
    ),
    re.compile(r"(?i)(cookie[\"']?\s*[:,=]\s*(?:b?[\"'])?)[^\r\n\"']+"),
    re.compile(r"(?i)(\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"),
    # The user and password of a URL.
    re.compile(r"(://)[^/\s@\"']+(?=@)"),
    # A channel's token, wherever it stands.
    re.compile(r"()\b[0-9a-f]{32}-channel-[0-9]+-[0-9]+-[A-Za-z0-9_.~]*"),
    # A JWT, wherever it stands.
    re.compile(r"()\beyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"),
)

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` without what looks like a credential and without `secrets` themselves."""
    for secret in secrets:
        text = text.replace(secret, _MASK)
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\1{_MASK}", text)
    return text


def one_line(text: str) -> str:
    """Return `text` with line breaks and control characters escaped, cut to `MAX_LINE_CHARS`."""
    if len(text) > MAX_LINE_CHARS:
        text = text[:MAX_LINE_CHARS] + _MASK
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


class Plain(logging.Formatter):
    """`12:30:01 warning cluster.topology: …`, a traceback below it, indented so that it cannot pass for an event."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._secrets = _searchable(secrets)

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = "".join(f" {name}={value}" for name, value in _fields(record))
        text = one_line(redact(record.getMessage() + fields, self._secrets))
        line = f"{clock} {record.levelname.lower()} {record.name}: {text}"
        trace = redact(_traceback(self, record), self._secrets)
        return "\n".join((line, *(f"    | {one_line(part)}" for part in trace.splitlines())))


class JsonLines(logging.Formatter):
    """One JSON object an event: `time` (RFC 3339, UTC), `level`, `logger`, `message`, `extra` fields, `traceback`."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._secrets = _searchable(secrets)

    def format(self, record: logging.LogRecord) -> str:
        event = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": one_line(redact(record.getMessage(), self._secrets)),
        }
        for name, value in _fields(record):
            event.setdefault(name, one_line(redact(value, self._secrets)))
        trace = redact(_traceback(self, record), self._secrets)
        if trace:
            event["traceback"] = trace[-MAX_LINE_CHARS:]
        # Lone surrogates (from undecodable input) are not JSON: replaced.
        return orjson.dumps({k: v.encode("utf-8", "replace").decode() for k, v in event.items()}).decode()


def configure(
    *,
    stream: TextIO | None = None,
    style: Style | None = None,
    level: str = "INFO",
    secrets: Iterable[str] = (),
) -> None:
    """Send every logger of the process through one redacting handler on `stream` (standard error).

    `style` None: plain on a terminal, JSON otherwise. `secrets` are the node's own, taken out wherever they stand.
    """
    stream = stream or sys.stderr
    if style is None:
        style = "plain" if stream.isatty() else "json"
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Plain(secrets) if style == "plain" else JsonLines(secrets))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level)


def set_level(level: str) -> None:
    """Write events of `level` and above; the loggers in `QUIET` from `warning` on."""
    root = logging.getLogger()
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _searchable(secrets: Iterable[str]) -> tuple[str, ...]:
    """Return the secrets worth searching for, the longest first: one may hold another."""
    return tuple(sorted((s for s in secrets if len(s) >= MIN_SECRET_CHARS), key=len, reverse=True))


def _fields(record: logging.LogRecord) -> list[tuple[str, str]]:
    """Return what came with `extra=`, as text; a field with a secret's name keeps its value to itself."""
    given = [(name, value) for name, value in vars(record).items() if name not in _STANDARD]
    return [(name, _MASK if _SECRET_FIELD.search(name) else str(value)) for name, value in given]


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = [formatter.formatException(record.exc_info)] if record.exc_info else []
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)
