"""The App Engine Channel API for Python 3, on a Headrace cluster: `create_channel` and `send_message`.

    from headrace import channel                    # or channel.install(), and import it as ever

    channel.configure(["https://a.example", "https://b.example"], token="...")
    token = channel.create_channel("player-1")      # for the page: new goog.appengine.Channel(token)
    channel.send_message("player-1", "your move")

Without `configure`, `HEADRACE_SERVERS` and `HEADRACE_TOKEN` say where to go. An application under
`appengine-python-standard` may register a `ChannelServiceStub` instead, which also works alone, in memory.
"""

from headrace.channel import channel as _module
from headrace.channel.calls import configure
from headrace.channel.channel import (
    MAXIMUM_MESSAGE_LENGTH,
    MAXIMUM_TOKEN_DURATION_MINUTES,
    AppIdAliasRequired,
    Error,
    InvalidChannelClientIdError,
    InvalidChannelTokenDurationError,
    InvalidMessageError,
    create_channel,
    send_message,
    set_maximum_client_id_length,
)
from headrace.channel.cluster import Cluster
from headrace.channel.installing import install
from headrace.channel.presence import InvalidPresence, Presence, verify_presence

__all__ = [
    "MAXIMUM_CLIENT_ID_LENGTH",
    "MAXIMUM_MESSAGE_LENGTH",
    "MAXIMUM_TOKEN_DURATION_MINUTES",
    "AppIdAliasRequired",
    "Cluster",
    "Error",
    "InvalidChannelClientIdError",
    "InvalidChannelTokenDurationError",
    "InvalidMessageError",
    "InvalidPresence",
    "Presence",
    "configure",
    "create_channel",
    "install",
    "send_message",
    "set_maximum_client_id_length",
    "verify_presence",
]

MAXIMUM_CLIENT_ID_LENGTH: int
"""Bytes, as `set_maximum_client_id_length` has it."""


def __getattr__(name: str) -> int:
    if name == "MAXIMUM_CLIENT_ID_LENGTH":
        return _module.MAXIMUM_CLIENT_ID_LENGTH
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
