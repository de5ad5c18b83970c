"""The stub's tokens (contracts/channel 3): `{mac}-channel-{random}-{expiry}-{client id}`. Pure.

The shape is the SDK's; in place of its keyless hash stands an HMAC, so that only the stub's own process can make one.
The SDK's script puts tokens into URLs without encoding them and takes what follows the last `-` for the client id. So
in a client id every byte but letters, digits, `_` and `.` becomes `~` and two hexadecimal digits, as on a node.
"""

import hashlib
import hmac
import re

WORD = "channel"

MAC_DIGITS = 32

MAX_NUMBER = 2**32
"""The random part goes up to this."""

_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.")
_ESCAPED = re.compile(rb"~([0-9A-F]{2})")
_SHAPE = re.compile(rf"[0-9a-f]{{{MAC_DIGITS}}}-{WORD}-[0-9]{{1,10}}-([0-9]{{1,12}})-[A-Za-z0-9_.~-]*")


class Error(Exception):
    """A method of the stub was given a token that does not serve."""


class InvalidTokenError(Error):
    """It is no token of this stub's."""


class TokenTimedOutError(Error):
    """It was one, and its time is over."""


def mint(key: bytes, client_id: str, *, minutes: int, now: float, number: int) -> str:
    """Return a token; `now` in Unix seconds, `number` random within 0..`MAX_NUMBER`."""
    expiry = int(now + minutes * 60) + 1
    return sign(key, f"{WORD}-{number}-{expiry}-{escaped(client_id)}")


def sign(key: bytes, rest: str) -> str:
    """Return `rest` behind its code."""
    return f"{_mac(key, rest)}-{rest}"


def read(key: bytes, token: str, *, now: float) -> str:
    """Return the client id. Raises `InvalidTokenError`, and `TokenTimedOutError` from the expiry's second on."""
    mac, _, rest = token.partition("-")
    parts = rest.split("-", 3)
    if not hmac.compare_digest(mac.encode(errors="replace"), _mac(key, rest).encode()) or len(parts) != 4:
        raise InvalidTokenError
    word, _, expiry, tail = parts
    if word != WORD or not (expiry.isascii() and expiry.isdigit()):
        raise InvalidTokenError
    if int(expiry) <= now:
        raise TokenTimedOutError
    return unescaped(tail)


def looks_valid(text: str, *, now: float) -> bool:
    """Tell whether `text` has a token's shape and an expiry to come; only who has the key knows more."""
    found = _SHAPE.fullmatch(text)
    return found is not None and int(found[1]) > now


def client_id_in(text: str) -> str | None:
    """Return the client id that a text of a token's shape names, None for another; whether it is one is not said."""
    return unescaped(text.split("-", 4)[4]) if _SHAPE.fullmatch(text) else None


def escaped(client_id: str) -> str:
    data = client_id.encode(errors="surrogateescape")
    return "".join(chr(byte) if byte in _SAFE else f"~{byte:02X}" for byte in data)


def unescaped(tail: str) -> str:
    """Return the client id that `escaped` was given."""
    data = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), tail.encode(errors="surrogateescape"))
    return data.decode(errors="surrogateescape")


def _mac(key: bytes, rest: str) -> str:
    return hmac.digest(key, rest.encode(errors="surrogatepass"), hashlib.sha256).hex()[:MAC_DIGITS]
