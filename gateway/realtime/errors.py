"""Close codes of the realtime protocol (`protocol/realtime.md` section 2.4), and how a refusal ends a connection.

Refusals in frames need no table: their words are those of `broker.errors`. After 4000 to 4499 the client comes back,
after 4500 to 4999 it does not.
"""

from enum import IntEnum

from broker.errors import Forbidden, HeadraceError, ServerError, Unauthorized

DEFAULT_RETRY_MS = 1000
"""When the client tries again after a refusal that is the server's fault and did not say when."""


class CloseCode(IntEnum):
    NORMAL = 1000
    UNSUPPORTED_DATA = 1003
    INTERNAL = 1011
    RESTART = 1012
    OVERLOADED = 4000
    NO_PONG = 4001
    TOKEN_REFUSED = 4500
    TOKEN_EXPIRED = 4501
    NO_CREDENTIAL = 4502
    TOO_MUCH_UNAUTHENTICATED = 4503


def for_the_wire(refusal: HeadraceError, *, authenticated: bool) -> HeadraceError:
    """Return the refusal as the caller should see it.

    One that is the server's fault always says when to come back. A caller that has shown no credential is told
    to show one, not that its token grants too little.
    """
    if isinstance(refusal, ServerError) and refusal.retry_ms is None:
        refusal.retry_ms = DEFAULT_RETRY_MS
    if isinstance(refusal, Forbidden) and not authenticated:
        return Unauthorized()
    return refusal
