"""Keys: each serves the algorithm of its type, and what is weak or symmetric in public is left out."""

import json
from base64 import urlsafe_b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway.keys import MAX_KEYS, Algorithm, VerificationKey, algorithm_of, read_jwk_set, read_keys

RSA = rsa.generate_private_key(65537, 2048)
WEAK_RSA = rsa.generate_private_key(65537, 1024)
EC = ec.generate_private_key(ec.SECP256R1())
EC384 = ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate()

SECRET = "s" * 32


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


PRIVATE = ED.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(("algorithm", "key"), [("RS256", RSA), ("ES256", EC), ("EdDSA", ED)])
def test_a_public_key_is_read_for_its_algorithm(
    algorithm: str, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
) -> None:
    (read,) = read_keys([{"kid": "a", "algorithm": algorithm, "public_key": pem(key)}])
    assert (read.kid, read.algorithm) == ("a", algorithm)
    assert algorithm_of(read.material) is Algorithm(algorithm)
    for other in set(Algorithm) - {read.algorithm, Algorithm.HS256}:
        with pytest.raises(ValueError, match="is not one for"):
            read_keys([{"kid": "a", "algorithm": other.value, "public_key": pem(key)}])


def test_a_secret_is_read_for_hs256_from_a_table_or_from_json() -> None:
    table = [{"kid": "a", "algorithm": "HS256", "secret": SECRET}]
    assert read_keys(table) == read_keys(json.dumps(table)) == (VerificationKey("a", Algorithm.HS256, b"s" * 32),)
    assert read_keys([]) == read_keys("") == ()


BAD = [
    ("not JSON", "JSON list"),
    ({"kid": "a"}, "list"),
    (7, "list"),
    (["x"], "key 1: it must be a table"),
    ([{"kid": 1, "algorithm": "HS256", "secret": SECRET}], "table of texts"),
    ([{"kid": "a", "algorithm": "none"}], "algorithm must be one of"),
    ([{"kid": "a", "algorithm": "HS512", "secret": SECRET}], "algorithm must be one of"),
    ([{"kid": "a", "algorithm": "hs256", "secret": SECRET}], "algorithm must be one of"),
    ([{"kid": "a", "secret": SECRET}], "algorithm must be one of"),
    ([{"kid": "a", "algorithm": "HS256"}], "takes a secret"),
    ([{"kid": "a", "algorithm": "HS256", "secret": SECRET[1:]}], "at least 32 bytes"),
    ([{"kid": "a", "algorithm": "HS256", "public_key": pem(RSA)}], "takes a secret"),
    ([{"kid": "a", "algorithm": "HS256", "secret": pem(RSA)}], "no HS256 secret"),
    ([{"kid": "a", "algorithm": "RS256", "secret": SECRET}], "takes a public_key"),
    ([{"kid": "a", "algorithm": "RS256"}], "takes a public_key"),
    ([{"kid": "a", "algorithm": "RS256", "public_key": "x"}], "not a PEM"),
    ([{"kid": "a", "algorithm": "EdDSA", "public_key": PRIVATE}], "not a PEM public key"),
    ([{"kid": "a", "algorithm": "RS256", "public_key": pem(WEAK_RSA)}], "not one for RS256"),
    ([{"kid": "a", "algorithm": "ES256", "public_key": pem(EC384)}], "not one for ES256"),
    ([{"kid": "headrace", "algorithm": "HS256", "secret": SECRET}], "kid"),
    ([{"kid": "a" * 256, "algorithm": "HS256", "secret": SECRET}], "kid"),
    ([{"kid": "a", "algorithm": "HS256", "secret": SECRET, "url": "x"}], "there is no 'url'"),
    ([{"kid": "a", "algorithm": "HS256", "secret": SECRET}] * 2, "same kid"),
    ([{"kid": str(n), "algorithm": "HS256", "secret": SECRET} for n in range(MAX_KEYS + 1)], "at most"),
]


@pytest.mark.parametrize(("given", "sentence"), BAD)
def test_a_bad_key_is_refused_without_its_material(given: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as refusal:
        read_keys(given)
    assert SECRET[1:] not in str(refusal.value)
    assert "PRIVATE" not in str(refusal.value)


def test_no_material_shows() -> None:
    assert repr(VerificationKey("a", Algorithm.HS256, SECRET.encode())) == "VerificationKey('a', HS256)"


def jwks() -> dict[str, dict[str, object]]:
    return {
        "rsa": RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True),
        "ec": ECAlgorithm.to_jwk(EC.public_key(), as_dict=True),
        "ed": OKPAlgorithm.to_jwk(ED.public_key(), as_dict=True),
    }


@pytest.mark.parametrize(("name", "algorithm"), [("rsa", "RS256"), ("ec", "ES256"), ("ed", "EdDSA")])
def test_a_jwk_is_read_for_the_algorithm_of_its_type(name: str, algorithm: str) -> None:
    plain = jwks()[name] | {"kid": name}
    for more in ({}, {"alg": algorithm}, {"use": "sig"}):
        keys = read_jwk_set({"keys": [plain | more]})
        assert keys[name].algorithm == algorithm
    for wrong in ({"alg": "HS256"}, {"alg": "none"}, {"alg": "RS512"}, {"use": "enc"}, {"kid": None}, {"kid": ""}):
        assert read_jwk_set({"keys": [plain | wrong]}) == {}


def test_ed25519_has_two_names() -> None:
    assert read_jwk_set({"keys": [jwks()["ed"] | {"kid": "a", "alg": "Ed25519"}]})
    assert not read_jwk_set({"keys": [jwks()["ec"] | {"kid": "a", "alg": "Ed25519"}]})


UNUSABLE: list[object] = [
    None,
    "x",
    {},
    {"kty": "oct", "k": urlsafe_b64encode(b"s" * 32).decode(), "kid": "a"},
    {"kty": "RSA", "kid": "a"},
    {"kty": "RSA", "kid": "a", "n": "!", "e": "AQAB"},
    {"kty": "EC", "kid": "a", "crv": "P-256", "x": "AA", "y": "AA"},
    {"kty": "EC", "kid": "a", "crv": "P-256", "x": 1, "y": []},
    {"kty": ["RSA"], "kid": "a"},
    RSAAlgorithm.to_jwk(WEAK_RSA.public_key(), as_dict=True) | {"kid": "a"},
    ECAlgorithm.to_jwk(EC384.public_key(), as_dict=True) | {"kid": "a"},
    # A private key in public is a mistake, and whoever reads it could sign.
    RSAAlgorithm.to_jwk(RSA, as_dict=True) | {"kid": "a"},
    OKPAlgorithm.to_jwk(ED, as_dict=True) | {"kid": "a"},
    # The node's own key is not for others to replace.
    RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True) | {"kid": "headrace"},
]


@pytest.mark.parametrize("jwk", UNUSABLE)
def test_what_cannot_be_used_is_left_out(jwk: object) -> None:
    good = jwks()["ec"] | {"kid": "good"}
    assert list(read_jwk_set({"keys": [jwk, good]})) == ["good"]


@pytest.mark.parametrize("document", [None, [], "keys", {}, {"keys": {}}, {"keys": [{}] * (MAX_KEYS + 1)}])
def test_what_is_no_jwk_set_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match="not a JWK set"):
        read_jwk_set(document)


def test_x25519_signs_nothing() -> None:
    assert algorithm_of(x25519.X25519PrivateKey.generate().public_key()) is None
