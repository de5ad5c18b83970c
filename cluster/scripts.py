"""The cluster's own Lua scripts, read once at import. What a header must say is as in `broker/store/lua`."""

from broker.store.base import Script
from broker.store.scripts import load


def _load(name: str) -> Script:
    return load(name, package="cluster")


DUTY_TAKE = _load("duty_take")
DUTY_KEEP = _load("duty_keep")
DUTY_RELEASE = _load("duty_release")

ALL = (DUTY_TAKE, DUTY_KEEP, DUTY_RELEASE)
"""Everything a connection loads when it is made."""
