"""The cluster's own Lua scripts, read once at import. What a header must say is as in `broker/store/lua`."""

from broker.store.base import Script
from broker.store.scripts import load


def _load(name: str) -> Script:
    return load(name, package="cluster")


DUTY_TAKE = _load("duty_take")
DUTY_KEEP = _load("duty_keep")
DUTY_RELEASE = _load("duty_release")
NODE_JOIN = _load("node_join")
NODE_RENEW = _load("node_renew")
NODE_TAKE = _load("node_take")
ENTER = _load("enter")
CLAIM = _load("claim")
CLEAR = _load("clear")

ALL = (DUTY_TAKE, DUTY_KEEP, DUTY_RELEASE, NODE_JOIN, NODE_RENEW, NODE_TAKE, ENTER, CLAIM, CLEAR)
"""Everything a connection loads when it is made."""
