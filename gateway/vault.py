"""The vault: encrypts what must be read again under `HEADRACE_SECRET_KEY`, and goes along when that key changes.

AES-256-GCM. A sealed text is `v1.<key id>.<base64url of nonce and ciphertext>`; its purpose is authenticated with it,
so that a text copied from one record into another does not open there. To change the key, set the new one as
`secret_key` and the one before as `secret_key_old` on every node: texts of both are read, new ones are sealed under the
new key, and the nodes seal again what they find under the old one.
"""

import binascii
import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.options import Secret

VERSION = "v1"

NONCE_BYTES = 12
"""Random: 2^32 texts under one key are far from a repetition."""

KEY_ID_DIGITS = 8
"""Tells keys apart; where two have the same, both are tried."""

MAX_TEXT_CHARS = 65_536

_KEY_LABEL = b"headrace vault AES-256-GCM v1"
_ID_LABEL = b"headrace vault key id v1"


class Vault:
    """Implements `broker.accounts.Vault`."""

    def __init__(self, secret_key: Secret, *, old: Secret | None = None) -> None:
        self._keys = [_Key(secret) for secret in (secret_key, old) if secret is not None]

    def seal(self, text: str, *, purpose: str) -> str:
        """Return `text` encrypted. Raises `ValueError` above `MAX_TEXT_CHARS`."""
        if len(text) > MAX_TEXT_CHARS:
            raise ValueError("the text is too long to be kept")
        key, nonce = self._keys[0], secrets.token_bytes(NONCE_BYTES)
        sealed = nonce + key.cipher.encrypt(nonce, text.encode(), purpose.encode())
        return f"{VERSION}.{key.id}.{urlsafe_b64encode(sealed).decode('ascii')}"

    def open(self, sealed: str, *, purpose: str) -> str | None:
        """Return the text; None where it was sealed for another purpose, changed, or under a key this node has not."""
        version, _, rest = sealed.partition(".")
        key_id, _, body = rest.partition(".")
        try:
            raw = urlsafe_b64decode(body.encode("ascii"))
        except (binascii.Error, UnicodeEncodeError):
            return None
        for key in self._keys:
            if version == VERSION and key.id == key_id and len(raw) > NONCE_BYTES:
                try:
                    return key.cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], purpose.encode()).decode()
                except InvalidTag:
                    continue
        return None

    def is_stale(self, sealed: str) -> bool:
        """Tell whether `sealed` is not under the newest key."""
        return not sealed.startswith(f"{VERSION}.{self._keys[0].id}.")


class _Key:
    """Derived, so that the secret key itself is used for no two purposes."""

    __slots__ = ("cipher", "id")

    def __init__(self, secret: Secret) -> None:
        material = secret.value.encode()
        self.cipher = AESGCM(hmac.digest(material, _KEY_LABEL, hashlib.sha256))
        self.id = hmac.digest(material, _ID_LABEL, hashlib.sha256).hex()[:KEY_ID_DIGITS]
