"""JWTs: what is accepted, what is refused, and that a refusal holds nothing of the token."""

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Expired, HeadraceError, InvalidName, InvalidRequest, Unauthorized
from broker.rights import MAX_PATTERNS
from gateway.keys import OWN_KID, Algorithm, VerificationKey
from gateway.options import Secret
from gateway.tokens import (
    MAX_LIFETIME_SECONDS,
    NOT_BEFORE_LEEWAY_SECONDS,
    TokenRules,
    kid_of,
    looks_like_jwt,
    mint,
    own_key,
    verified_claims,
    verify,
)

NOW_MS = 1_700_000_000_000
NOW = NOW_MS // 1000

HMAC = b"h" * 32
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()

SIGNERS: dict[str, Any] = {"HS256": HMAC, "RS256": RSA, "ES256": EC, "EdDSA": ED}
KEYS = {
    "HS256": VerificationKey("a", Algorithm.HS256, HMAC),
    "RS256": VerificationKey("a", Algorithm.RS256, RSA.public_key()),
    "ES256": VerificationKey("a", Algorithm.ES256, EC.public_key()),
    "EdDSA": VerificationKey("a", Algorithm.EDDSA, ED.public_key()),
}

CLAIMS: dict[str, object] = {"sub": "alice", "exp": NOW + 60, "permissions": {"pub": ["p/*"], "sub": ["p/t", "q/*"]}}
ANY = TokenRules()
MARK = "mark-of-the-token"


def a_token(claims: dict[str, object], *, algorithm: str = "HS256", headers: dict[str, object] | None = None) -> str:
    return jwt.encode(claims, SIGNERS[algorithm], algorithm=algorithm, headers=headers)


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def signed_by_hand(header: object, claims: object, secret: bytes = HMAC) -> str:
    signed = f"{segment(header)}.{segment(claims)}"
    signature = hmac.digest(secret, signed.encode(), hashlib.sha256)
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def refusal_of(token: str, *, key: str = "HS256", rules: TokenRules = ANY) -> str:
    with pytest.raises(Unauthorized) as refusal:
        kid_of(token)
        verify(token, KEYS[key], rules, now_ms=NOW_MS)
    assert MARK not in refusal.value.reason
    assert refusal.value.reason.isprintable()
    # Nor does what caused it hang on: it goes into tracebacks.
    assert refusal.value.__cause__ is None
    assert refusal.value.__context__ is None or refusal.value.__suppress_context__
    return refusal.value.reason


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_good_token_is_a_principal(algorithm: str) -> None:
    principal = verify(a_token(CLAIMS, algorithm=algorithm), KEYS[algorithm], TokenRules(), now_ms=NOW_MS)
    assert principal.name == "alice"
    assert principal.publish == ("p/*",)
    assert principal.subscribe == ("p/t", "q/*")
    assert principal.expires_ms == (NOW + 60) * 1000
    assert not principal.operator


@pytest.mark.parametrize("signed", list(Algorithm))
@pytest.mark.parametrize("known", list(Algorithm))
def test_a_key_serves_one_algorithm(signed: str, known: str) -> None:
    if signed != known:
        assert "signature" in refusal_of(a_token(CLAIMS, algorithm=signed), key=known)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("form", [PublicFormat.SubjectPublicKeyInfo, None])
def test_a_public_key_is_no_hmac_secret(algorithm: str, form: PublicFormat | None) -> None:
    material: Any = KEYS[algorithm].material
    encoding = Encoding.PEM if form else Encoding.DER
    known = material.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
    refusal_of(signed_by_hand({"alg": "HS256", "typ": "JWT"}, CLAIMS, known), key=algorithm)


@pytest.mark.parametrize("name", ["none", "None", "NONE", "", None, "HS384", "HS512", ["HS256"], 1, "hs256"])
def test_no_other_algorithm_counts(name: object) -> None:
    unsigned = f"{segment({'alg': name})}.{segment(CLAIMS)}."
    refusal_of(unsigned)
    refusal_of(signed_by_hand({"alg": name}, CLAIMS))


@pytest.mark.parametrize("name", ["RS384", "RS512", "PS256"])
def test_a_key_serves_no_other_algorithm_of_its_type(name: str) -> None:
    refusal_of(jwt.encode(CLAIMS, RSA, algorithm=name), key="RS256")


def test_a_changed_token_is_refused() -> None:
    head, body, signature = a_token(CLAIMS).split(".")
    other = segment(CLAIMS | {"sub": "mallory"})
    refusal_of(f"{head}.{other}.{signature}")
    refusal_of(f"{head}.{body}.")
    refusal_of(f"{head}.{body}.{signature[:-4]}AAAA")
    refusal_of(jwt.encode(CLAIMS, b"x" * 32, algorithm="HS256"))


def test_critical_headers_are_refused_even_when_signed() -> None:
    for names in (["b64"], ["exp"], [], "exp"):
        token = signed_by_hand({"alg": "HS256", "crit": names, "exp": 1, "b64": True}, CLAIMS)
        assert "critical" in refusal_of(token) or "JWT" in refusal_of(token)
    refusal_of(signed_by_hand({"alg": "HS256", "b64": False}, CLAIMS))


def test_headers_that_bring_keys_are_not_looked_at() -> None:
    mallory = ec.generate_private_key(ec.SECP256R1())
    jwk = jwt.algorithms.ECAlgorithm.to_jwk(mallory.public_key(), as_dict=True)
    headers: dict[str, object] = {"jwk": jwk, "jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/cert"}
    forged = jwt.encode(CLAIMS, mallory, algorithm="ES256", headers=headers)
    refusal_of(forged, key="ES256")
    good = a_token(CLAIMS, algorithm="ES256", headers=headers)
    assert verify(good, KEYS["ES256"], TokenRules(), now_ms=NOW_MS).name == "alice"


def test_kid_is_read_as_a_text() -> None:
    assert kid_of(a_token(CLAIMS, headers={"kid": "../../etc/passwd"})) == "../../etc/passwd"
    assert kid_of(a_token(CLAIMS)) is None
    for kid in (1, ["a"], {"a": 1}, True):
        refusal_of(signed_by_hand({"alg": "HS256", "kid": kid}, CLAIMS))


TIMES: list[tuple[dict[str, object], str]] = [
    ({"exp": NOW}, "expired"),
    ({"exp": NOW - 1}, "expired"),
    ({"exp": 0}, "expired"),
    ({"exp": None}, "no expiry"),
    ({"exp": str(NOW + 60)}, "not a number"),
    ({"exp": True}, "not a number"),
    ({"exp": [NOW + 60]}, "not a number"),
    ({"exp": 1e300}, "out of range"),
    ({"exp": float("inf")}, "out of range"),
    ({"exp": float("nan")}, "out of range"),
    ({"exp": -1}, "out of range"),
    ({"exp": 10**400}, "out of range"),
    ({"nbf": NOW + NOT_BEFORE_LEEWAY_SECONDS + 1}, "not valid yet"),
    ({"nbf": "now"}, "not a number"),
]


@pytest.mark.parametrize(("claims", "sentence"), TIMES)
def test_a_time_that_is_wrong_is_refused(claims: dict[str, object], sentence: str) -> None:
    assert sentence in refusal_of(signed_by_hand({"alg": "HS256"}, CLAIMS | claims))


@pytest.mark.parametrize(
    "claims",
    [{"exp": NOW + 1}, {"exp": NOW + 0.5}, {"nbf": NOW + NOT_BEFORE_LEEWAY_SECONDS}, {"nbf": 0}, {"iat": NOW + 9999}],
)
def test_a_time_that_is_right_is_accepted(claims: dict[str, object]) -> None:
    verify(a_token(CLAIMS | claims), KEYS["HS256"], TokenRules(), now_ms=NOW_MS)


def test_a_token_without_expiry_is_accepted_where_that_is_configured() -> None:
    rules = TokenRules(require_expiry=False)
    eternal = {key: value for key, value in CLAIMS.items() if key != "exp"}
    assert verify(a_token(eternal), KEYS["HS256"], rules, now_ms=NOW_MS).expires_ms is None
    assert "expired" in refusal_of(a_token(CLAIMS | {"exp": NOW}), rules=rules)


RULES = TokenRules(issuer="https://id.example", audience=("headrace", "other"))
PARTIES: list[tuple[dict[str, object], bool]] = [
    ({"iss": "https://id.example", "aud": "headrace"}, True),
    ({"iss": "https://id.example", "aud": ["x", "other"]}, True),
    ({"iss": "https://id.example"}, False),
    ({"aud": "headrace"}, False),
    ({"iss": "https://id.example.evil", "aud": "headrace"}, False),
    ({"iss": ["https://id.example"], "aud": "headrace"}, False),
    ({"iss": "https://id.example", "aud": "headrac"}, False),
    ({"iss": "https://id.example", "aud": []}, False),
    ({"iss": "https://id.example", "aud": {"headrace": 1}}, False),
    ({"iss": "https://id.example", "aud": [["headrace"]]}, False),
]


@pytest.mark.parametrize(("claims", "accepted"), PARTIES)
def test_issuer_and_audience_must_be_those_of_the_configuration(claims: dict[str, object], accepted: bool) -> None:
    token = signed_by_hand({"alg": "HS256"}, CLAIMS | claims)
    if accepted:
        verify(token, KEYS["HS256"], RULES, now_ms=NOW_MS)
    else:
        refusal_of(token, rules=RULES)


def test_where_none_is_configured_any_issuer_and_audience_will_do() -> None:
    verify(a_token(CLAIMS | {"iss": "x", "aud": "y"}), KEYS["HS256"], TokenRules(), now_ms=NOW_MS)


BAD_CLAIMS: list[dict[str, object]] = [
    {"sub": None},
    {"sub": ""},
    {"sub": 7},
    {"sub": ["alice"]},
    {"sub": f"{MARK}\nspoofed log line"},
    {"sub": f"{MARK}\0x"},
    {"sub": MARK * 20},
    {"sub": "é" * 128},
    {"sub": "@service"},
    {"sub": "@" + MARK},
    {"sub": "\ud800"},
    {"permissions": None},
    {"permissions": [MARK]},
    {"permissions": "*"},
    {"permissions": {"pub": "*"}},
    {"permissions": {"pub": None}},
    {"permissions": {"pub": [1]}},
    {"permissions": {"sub": {"*": 1}}},
    {"permissions": {"pub": [f"{MARK}*/t"]}},
    {"permissions": {"sub": [f"{MARK}/{{}}"]}},
    {"permissions": {"sub": [""]}},
    {"permissions": {"sub": ["x" * 257]}},
    {"permissions": {"pub": ["p/t"] * (MAX_PATTERNS + 1)}},
]


@pytest.mark.parametrize("claims", BAD_CLAIMS)
def test_claims_that_are_wrong_are_refused(claims: dict[str, object]) -> None:
    refusal_of(signed_by_hand({"alg": "HS256"}, CLAIMS | claims))


def test_without_permissions_a_token_grants_nothing() -> None:
    principal = verify(a_token({"sub": "alice", "exp": NOW + 1}), KEYS["HS256"], TokenRules(), now_ms=NOW_MS)
    assert not principal.has_rights


def test_what_is_not_asked_for_is_not_granted() -> None:
    claims = CLAIMS | {"operator": True, "permissions": {"admin": ["*"], "operator": True}}
    principal = verify(a_token(claims), KEYS["HS256"], TokenRules(), now_ms=NOW_MS)
    assert not principal.operator
    assert not principal.has_rights


@pytest.mark.parametrize("payload", [[], "x", 7, None, True])
def test_a_payload_that_is_no_object_is_refused(payload: object) -> None:
    refusal_of(signed_by_hand({"alg": "HS256"}, payload))


def test_a_deep_payload_is_refused() -> None:
    body = base64.urlsafe_b64encode(b"[" * 5000).rstrip(b"=").decode()
    refusal_of(f"{segment({'alg': 'HS256'})}.{body}.AA")


@given(st.text() | st.from_regex(r"[A-Za-z0-9_.-]{0,60}\.[A-Za-z0-9_.-]{0,60}\.[A-Za-z0-9_.-]{0,60}", fullmatch=True))
def test_any_text_is_refused_in_the_same_way(text: str) -> None:
    for read in (kid_of, lambda token: verify(token, KEYS["HS256"], TokenRules(), now_ms=NOW_MS)):
        try:
            read(text)
        except HeadraceError as refusal:
            assert isinstance(refusal, Unauthorized)


def test_only_what_has_three_parts_and_a_bounded_length_looks_like_a_jwt() -> None:
    assert looks_like_jwt(a_token(CLAIMS))
    for text in ("", "a", "a.b", "a.b.c.d", "a." + "b" * 9000 + ".c"):
        assert not looks_like_jwt(text)


SECRET = Secret("k" * 32)


def test_a_minted_token_is_accepted_by_who_has_the_secret() -> None:
    token = mint(
        SECRET, subject="cli", publish=["p/*"], subscribe=["*"], lifetime_seconds=60, now_ms=NOW_MS, rules=RULES
    )
    assert kid_of(token) == OWN_KID
    principal = verify(token, own_key(SECRET), RULES, now_ms=NOW_MS)
    assert (principal.name, principal.publish, principal.subscribe) == ("cli", ("p/*",), ("*",))
    assert principal.expires_ms == NOW_MS + 60_000
    with pytest.raises(Unauthorized):
        verify(token, own_key(SECRET), RULES, now_ms=NOW_MS + 60_000)
    with pytest.raises(Unauthorized):
        verify(token, own_key(Secret("j" * 32)), RULES, now_ms=NOW_MS)


def test_the_own_key_is_derived_and_stays_the_same() -> None:
    """Tokens live on over an update: this derivation cannot change."""
    expected = hmac.new(b"k" * 32, b"headrace JWT HS256 v1", hashlib.sha256).digest()
    assert own_key(SECRET) == VerificationKey("headrace", Algorithm.HS256, expected)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"subject": ""}, InvalidRequest),
        ({"subject": "@service"}, InvalidRequest),
        ({"subject": "a\nb"}, InvalidRequest),
        ({"lifetime_seconds": 0}, InvalidRequest),
        ({"lifetime_seconds": MAX_LIFETIME_SECONDS + 1}, InvalidRequest),
        ({"publish": ["*/x"]}, InvalidName),
        ({"subscribe": [""]}, InvalidName),
    ],
)
def test_what_would_not_be_accepted_is_not_minted(change: dict[str, Any], refusal: type[HeadraceError]) -> None:
    with pytest.raises(refusal):
        mint(SECRET, **{"subject": "cli", "lifetime_seconds": 60, "now_ms": NOW_MS, **change})


def test_an_expired_token_is_told_from_a_wrong_one() -> None:
    with pytest.raises(Expired):
        verify(a_token(CLAIMS | {"exp": NOW}), KEYS["HS256"], ANY, now_ms=NOW_MS)


def test_claims_are_all_that_a_token_says() -> None:
    claims = {"sub": "alice", "exp": NOW + 60, "room": "blue", "permissions": "of another kind"}
    token = jwt.encode(claims, HMAC, algorithm="HS256")
    key = VerificationKey("k", Algorithm.HS256, HMAC)
    assert verified_claims(token, key, TokenRules(), now_ms=NOW_MS) == claims


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": NOW + 60},
        {"sub": "", "exp": NOW + 60},
        {"sub": "@service", "exp": NOW + 60},
        {"sub": "alice", "exp": NOW},
        {"sub": "alice"},
        {"sub": "alice", "exp": NOW + 60, "nbf": NOW + 3600},
        {"sub": "alice", "exp": NOW + 60, "iss": "another"},
    ],
)
def test_claims_that_are_refused(claims: dict[str, object]) -> None:
    token = jwt.encode({"iss": "us", **claims}, HMAC, algorithm="HS256")
    key = VerificationKey("k", Algorithm.HS256, HMAC)
    with pytest.raises(Unauthorized):
        verified_claims(token, key, TokenRules(issuer="us"), now_ms=NOW_MS)
    with pytest.raises(Unauthorized):
        verified_claims(token, VerificationKey("k", Algorithm.HS256, b"o" * 32), TokenRules(), now_ms=NOW_MS)
