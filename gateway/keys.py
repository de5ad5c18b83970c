"""Keys that JWTs are verified with: which algorithm each is for, and nothing else.

A key is bound to one algorithm when it is read, from the configuration or from a JWK set, by its type. What a token
says in its header never chooses the algorithm: so an RSA public key cannot be taken for an HMAC secret.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWK
from jwt.exceptions import PyJWTError

MIN_HMAC_BYTES = 32
"""As many as the hash has (RFC 7518, 3.2)."""

MIN_RSA_BITS = 2048

MAX_KEYS = 100
"""Of one configuration or one JWK set."""

MAX_KID_CHARS = 255

OWN_KID = "headrace"
"""The key that `headrace token` signs with, made from the node's secret key."""


class Algorithm(StrEnum):
    HS256 = "HS256"
    RS256 = "RS256"
    ES256 = "ES256"
    EDDSA = "EdDSA"


_NAMES = {
    Algorithm.RS256: ("RS256",),
    Algorithm.ES256: ("ES256",),
    # RFC 9864 renames it.
    Algorithm.EDDSA: ("EdDSA", "Ed25519"),
}

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One key with the only algorithm that it serves; its material does not show."""

    kid: str
    algorithm: Algorithm
    material: bytes | PublicKey

    def __repr__(self) -> str:
        return f"VerificationKey({self.kid!r}, {self.algorithm.value})"


def read_keys(given: object) -> tuple[VerificationKey, ...]:
    """Read the configuration's keys: a list of tables, or the same as JSON. A `ValueError` holds no key material."""
    if isinstance(given, str):
        try:
            given = json.loads(given or "[]")
        except ValueError:
            raise ValueError("this must be a JSON list of {kid, algorithm, secret or public_key}") from None
    if not isinstance(given, list) or len(given) > MAX_KEYS:
        raise ValueError(f"this must be a list of at most {MAX_KEYS} tables {{kid, algorithm, secret or public_key}}")
    keys = tuple(_read_key(table, number) for number, table in enumerate(given, 1))
    kids = [key.kid for key in keys]
    if len(set(kids)) < len(kids):
        raise ValueError("two keys have the same kid")
    return keys


def _read_key(table: object, number: int) -> VerificationKey:
    try:
        return _key_of(table)
    except ValueError as error:
        raise ValueError(f"key {number}: {error}") from None


def _key_of(table: object) -> VerificationKey:
    if not isinstance(table, Mapping) or not all(isinstance(value, str) for value in table.values()):
        raise ValueError("it must be a table of texts")
    unknown = set(table) - {"kid", "algorithm", "secret", "public_key"}
    if unknown:
        raise ValueError(f"there is no {', '.join(sorted(map(ascii, unknown)))} in a key")
    kid = table.get("kid", "")
    if len(kid) > MAX_KID_CHARS or kid == OWN_KID:
        raise ValueError(f"its kid must be at most {MAX_KID_CHARS} characters and not {OWN_KID!r}")
    if table.get("algorithm") not in tuple(Algorithm):
        raise ValueError(f"its algorithm must be one of {', '.join(Algorithm)}")
    algorithm = Algorithm(table["algorithm"])
    if algorithm is Algorithm.HS256:
        return VerificationKey(kid, algorithm, _hmac_secret(table))
    if "secret" in table or "public_key" not in table:
        raise ValueError(f"{algorithm.value} takes a public_key (PEM)")
    return VerificationKey(kid, algorithm, _public_key(table["public_key"], algorithm))


def _hmac_secret(table: Mapping[str, str]) -> bytes:
    if "public_key" in table or "secret" not in table:
        raise ValueError("HS256 takes a secret")
    secret = table["secret"].encode()
    # PEM text as an HMAC secret is how a public key gets taken for one.
    if secret.lstrip().startswith(b"-----BEGIN"):
        raise ValueError("a PEM key is no HS256 secret")
    if len(secret) < MIN_HMAC_BYTES:
        raise ValueError(f"its secret must have at least {MIN_HMAC_BYTES} bytes")
    return secret


def _public_key(pem: str, algorithm: Algorithm) -> PublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("its public_key is not a PEM public key") from None
    if algorithm_of(key) is not algorithm:
        raise ValueError(f"its public_key is not one for {algorithm.value}")
    assert isinstance(key, PublicKey)
    return key


def algorithm_of(key: object) -> Algorithm | None:
    """Return the only algorithm that `key` serves here, None when it is of no use or too weak."""
    if isinstance(key, RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        return Algorithm.RS256
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return Algorithm.ES256
    if isinstance(key, Ed25519PublicKey):
        return Algorithm.EDDSA
    return None


def read_jwk_set(document: object) -> dict[str, VerificationKey]:
    """Return a JWK set's keys by kid; what cannot be used is left out. Raises `ValueError` when it is no JWK set.

    Symmetric keys are left out: whoever can read the set could sign with them.
    """
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or len(keys) > MAX_KEYS:
        raise ValueError(f"not a JWK set of at most {MAX_KEYS} keys")
    found = [key for key in map(_jwk, keys) if key is not None]
    return {key.kid: key for key in found}


def _jwk(data: object) -> VerificationKey | None:
    if not isinstance(data, dict) or data.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    kid = data.get("kid")
    if not isinstance(kid, str) or not 1 <= len(kid) <= MAX_KID_CHARS or kid == OWN_KID:
        return None
    if data.get("use", "sig") != "sig":
        return None
    try:
        # Without its `alg`, which is compared below: the type alone says what a key is.
        material = PyJWK({name: value for name, value in data.items() if name != "alg"}).key
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None
    algorithm = algorithm_of(material)
    if algorithm is None or data.get("alg", algorithm.value) not in _NAMES[algorithm]:
        return None
    assert isinstance(material, PublicKey)
    return VerificationKey(kid, algorithm, material)
