"""How a client id travels in a token: any bytes as letters that need no encoding in a URL. Pure.

The page's script puts a token into URLs as it stands, and takes what follows its last `-` for the client's key
(contracts/channel 3). So letters, digits, `_` and `.` stand for themselves and every other byte is `~` and two
hexadecimal digits, `-` and `~` among them.
"""

import re

_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.")

_ENCODED = re.compile(r"(?:[A-Za-z0-9_.]|~[0-9A-F]{2})*")


def encode(client_id: bytes) -> str:
    return "".join(chr(byte) if byte in _SAFE else f"~{byte:02X}" for byte in client_id)


def decode(text: str) -> bytes:
    """Return the client id that `encode` was given. Raises `ValueError` on what it never wrote."""
    if not _ENCODED.fullmatch(text):
        raise ValueError("not an encoded client id")
    head, *rest = text.split("~")
    return head.encode() + b"".join(bytes.fromhex(part[:2]) + part[2:].encode() for part in rest)
