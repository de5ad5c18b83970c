"""What the configuration says of channels (docs/channel.md)."""
# ruff: noqa: RUF009 - `option` makes a dataclass field, as `field` does; it is no default value.

from dataclasses import dataclass
from enum import StrEnum

from gateway.options import Secret, option

MAX_TOKEN_MINUTES = 1440
"""The original's longest life of a token: a day."""


class Profile(StrEnum):
    """What becomes of a message for which nobody is connected."""

    BUFFER = "buffer"
    """Kept for a bounded time and delivered when the client comes back."""
    STRICT = "strict"
    """Dropped, as the original does."""


class Second(StrEnum):
    """What a second connection with the same client id does to the first."""

    REPLACES = "replaces"
    MIRRORS = "mirrors"
    """Both get every message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """The Channel API of App Engine. Sizes are bytes; a buffer is that of one client id."""

    enabled: bool = option(True, "Serve the Channel API under /_ah/channel/ and /rpc_http.")
    application: str = option("headrace", "The application id that App Engine's remote clients are told.")
    client_id_bytes: int = option(64, "The longest client id; the last SDKs allowed 256.", least=1, most=256)
    profile: Profile = option(Profile.BUFFER, "buffer: keep messages for who is away; strict: drop them.")
    buffer_seconds: float = option(60, "How long a message is kept for a client that is away.", least=1, most=86_400)
    buffer_messages: int = option(1000, "Messages that are kept for one client; the oldest go.", least=1, most=100_000)
    buffer_bytes: int = option(
        4 * 1024 * 1024, "Bytes that are kept for one client; the oldest messages go.", least=65_536
    )
    second: Second = option(Second.REPLACES, "A client id's newest connection replaces the older, or mirrors it.")
    gone_seconds: float = option(
        2, "A client counts as gone so long after its last poll, or after its socket was lost.", least=0.1, most=600
    )
    hold_seconds: float = option(20, "How long a poll waits for a message.", least=0, most=300)
    lease_seconds: float = option(
        15, "A socket counts as gone when its node is not heard of for so long.", least=1, most=600
    )
    token_minutes: int = option(120, "How long a token lives for which no time was given.", least=1, most=1440)
    presence_url: str = option("", "Where the application is: presence is posted below it. Empty: it is not.")
    presence_secret: Secret | None = option(
        None, "What presence posts are signed with; empty: what `headrace config presence-secret` prints."
    )
    presence_retry: bool = option(False, "Repeat a presence post that failed, under the same event id.")
