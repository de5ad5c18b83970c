"""The Lua scripts of `lua/`, one verb each, read once at import.

A line `-- include: _name` is replaced by the fragment `lua/_name.lua`: Redis' scripts cannot call each other, and what
begins an epoch must not exist twice.
"""

import hashlib
import re
from importlib.resources import files

from broker.store.base import Script

_INCLUDE = re.compile(r"^-- include: (_\w+)$", re.MULTILINE)


def load(name: str, *, package: str = "broker.store") -> Script:
    """Read `lua/<name>.lua` of `package` and what it includes from there. Raises `FileNotFoundError`."""
    source = _text(name, package)
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


def _text(name: str, package: str) -> str:
    text = (files(package) / "lua" / f"{name}.lua").read_text(encoding="utf-8").rstrip("\n")
    return _INCLUDE.sub(lambda found: _text(found[1], package), text)


PUBLISH = load("publish")
READ = load("read")
SNAPSHOT = load("snapshot")
FIND_TIME = load("find_time")
CREATE = load("create")
DESCRIBE = load("describe")
CONFIGURE = load("configure")
DELETE = load("delete")
TRIM = load("trim")
TRAFFIC = load("traffic")
REPLACE = load("replace")
REMOVE = load("remove")
PROBE = load("probe")
RECORDS = load("records")
CREATE_SUBSCRIPTION = load("create_subscription")
DESCRIBE_SUBSCRIPTION = load("describe_subscription")
CONFIGURE_SUBSCRIPTION = load("configure_subscription")
DELETE_SUBSCRIPTION = load("delete_subscription")
PULL_CURSOR = load("pull_cursor")
ACK_CURSOR = load("ack_cursor")
LEASE = load("lease")
SETTLE = load("settle")
SEEK = load("seek")
CHANNEL_BIND = load("channel_bind")
CHANNEL_OPEN = load("channel_open")
CHANNEL_SEND = load("channel_send")
CHANNEL_READ = load("channel_read")
CHANNEL_CLOSE = load("channel_close")
CHANNEL_SETTLE = load("channel_settle")
CHANNEL_DUE = load("channel_due")
CHANNEL_WATCH = load("channel_watch")

ALL = (
    PUBLISH,
    READ,
    SNAPSHOT,
    FIND_TIME,
    CREATE,
    DESCRIBE,
    CONFIGURE,
    DELETE,
    TRIM,
    TRAFFIC,
    REPLACE,
    REMOVE,
    PROBE,
    RECORDS,
    CREATE_SUBSCRIPTION,
    DESCRIBE_SUBSCRIPTION,
    CONFIGURE_SUBSCRIPTION,
    DELETE_SUBSCRIPTION,
    PULL_CURSOR,
    ACK_CURSOR,
    LEASE,
    SETTLE,
    SEEK,
    CHANNEL_BIND,
    CHANNEL_OPEN,
    CHANNEL_SEND,
    CHANNEL_READ,
    CHANNEL_CLOSE,
    CHANNEL_SETTLE,
    CHANNEL_DUE,
    CHANNEL_WATCH,
)
"""Everything a connection loads when it is made."""
