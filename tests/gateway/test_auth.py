"""Whom a credential speaks for: the service token, JWTs of three origins, nobody. Failing is never anonymous."""

import asyncio
import hashlib
import hmac
import json
from base64 import urlsafe_b64encode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from jwt.algorithms import OKPAlgorithm

from broker.accounts import Accounts
from broker.errors import Expired, Unauthorized, Unavailable
from broker.names import ProjectName
from broker.rights import Principal
from broker.store.records_memory import MemoryRecords
from broker.users import UserChange
from gateway.auth import SERVICE, Authenticator
from gateway.config import Auth, Config
from gateway.keys import Algorithm, VerificationKey
from gateway.options import Secret
from gateway.tokens import mint, own_key
from gateway.vault import Vault

NOW_MS = 1_700_000_000_000
SERVICE_TOKEN = "the-service-token-of-this-test"
SECRET = Secret("k" * 32)
HMAC = b"h" * 32
OTHER_HMAC = b"o" * 32
REMOTE = ed25519.Ed25519PrivateKey.generate()

KEY = VerificationKey("local", Algorithm.HS256, HMAC)
OTHER_KEY = VerificationKey("other", Algorithm.HS256, OTHER_HMAC)

CLAIMS = {"sub": "alice", "exp": NOW_MS // 1000 + 60, "permissions": {"sub": ["p/*"]}}


def an_authenticator(auth: Auth | None = None, *, redis: bool = False) -> Authenticator:
    config = Config(
        service_token=Secret(SERVICE_TOKEN),
        secret_key=SECRET,
        redis=Secret("redis://x") if redis else None,
        allowed_origins=("https://app.example",),
        auth=auth or Auth(keys=(KEY,)),
    )
    return Authenticator(config, now_ms=lambda: NOW_MS, monotonic=lambda: 0.0)


def a_token(key: object = HMAC, *, kid: str | None = "local", algorithm: str = "HS256") -> str:
    headers = None if kid is None else {"kid": kid}
    return jwt.encode(CLAIMS, key, algorithm=algorithm, headers=headers)  # type: ignore[arg-type]


async def test_the_service_token_may_do_everything() -> None:
    auth = an_authenticator()
    assert auth.known(SERVICE_TOKEN) == SERVICE
    assert await auth.authenticate(SERVICE_TOKEN) == SERVICE
    assert SERVICE.operator


NEARLY = ["", " ", SERVICE_TOKEN + " ", SERVICE_TOKEN[:-1], SERVICE_TOKEN.upper(), SERVICE_TOKEN + "\0", "\ud800", "é"]


@pytest.mark.parametrize("token", NEARLY)
async def test_nearly_the_service_token_is_nothing(token: str) -> None:
    auth = an_authenticator(Auth(anonymous_subscribe=("*",)))
    with pytest.raises(Unauthorized) as refusal:
        auth.known(token)
    with pytest.raises(Unauthorized):
        await auth.authenticate(token)
    assert len(token) < 5 or token not in refusal.value.reason


async def test_a_jwt_of_a_configured_key_is_known_at_once() -> None:
    auth = an_authenticator()
    principal = auth.known(a_token())
    assert principal is not None
    assert principal.name == "alice"
    assert principal.subscribe == ("p/*",)
    assert await auth.authenticate(a_token()) == principal


async def test_a_token_of_the_node_itself_is_known_at_once() -> None:
    token = mint(SECRET, subject="cli", publish=["p/*"], lifetime_seconds=60, now_ms=NOW_MS)
    principal = an_authenticator().known(token)
    assert principal is not None
    assert principal.name == "cli"


async def test_a_kid_only_chooses_among_the_keys_that_there_are() -> None:
    auth = an_authenticator(Auth(keys=(KEY, OTHER_KEY)))
    assert auth.known(a_token(OTHER_HMAC, kid="other"))
    for kid in ("unknown", "", "../local", "LOCAL", "headrace"):
        with pytest.raises(Unauthorized):
            auth.known(a_token(kid=kid))
    with pytest.raises(Unauthorized):
        auth.known(a_token(OTHER_HMAC, kid="local"))


async def test_a_token_without_kid_goes_with_the_only_key() -> None:
    assert an_authenticator().known(a_token(kid=None))
    for keys in ((), (KEY, OTHER_KEY)):
        auth = an_authenticator(Auth(keys=keys))
        with pytest.raises(Unauthorized):
            auth.known(a_token(kid=None))


async def test_what_the_configuration_asks_of_a_jwt_is_asked() -> None:
    auth = an_authenticator(Auth(keys=(KEY,), issuer="https://id.example", audience=("hr",)))
    with pytest.raises(Unauthorized):
        auth.known(a_token())
    full = jwt.encode(CLAIMS | {"iss": "https://id.example", "aud": "hr"}, HMAC, headers={"kid": "local"})
    assert auth.known(full)


async def test_a_caller_without_a_credential_has_no_rights_unless_configured() -> None:
    assert not an_authenticator().anonymous.has_rights
    anonymous = an_authenticator(Auth(anonymous_publish=("a/*",), anonymous_subscribe=("b/*",))).anonymous
    assert (anonymous.publish, anonymous.subscribe, anonymous.operator) == (("a/*",), ("b/*",), False)
    assert anonymous.expires_ms is None


EXPIRED = jwt.encode(CLAIMS | {"exp": NOW_MS // 1000}, HMAC, headers={"kid": "local"})
FAILING = ["", "x", "a.b.c", SERVICE_TOKEN[1:], EXPIRED, a_token(OTHER_HMAC), a_token(kid="nobody"), "x" * 100_000]


@pytest.mark.parametrize("token", FAILING)
async def test_a_failed_token_is_never_anonymous(token: str) -> None:
    auth = an_authenticator(Auth(keys=(KEY,), anonymous_publish=("*",), anonymous_subscribe=("*",)))
    for _ in range(2):
        with pytest.raises(Unauthorized) as refusal:
            await auth.authenticate(token)
        for part in token.split("."):
            assert len(part) < 3 or part not in refusal.value.reason


def test_without_a_service_token_none_is_taken_for_it() -> None:
    auth = Authenticator(Config(), now_ms=lambda: NOW_MS, monotonic=lambda: 0.0)
    for token in ("", "None"):
        with pytest.raises(Unauthorized):
            auth.known(token)


def test_no_two_principals_of_different_origin_share_a_name() -> None:
    auth = an_authenticator()
    for name in (SERVICE.name, auth.anonymous.name):
        with pytest.raises(Unauthorized):
            auth.known(jwt.encode(CLAIMS | {"sub": name}, HMAC, headers={"kid": "local"}))


class Source:
    """Serves one JWK set, or nothing."""

    def __init__(self) -> None:
        self.requests = 0
        jwk = OKPAlgorithm.to_jwk(REMOTE.public_key(), as_dict=True) | {"kid": "remote"}
        # What would let whoever reads the set sign, and what would take the place of a configured key.
        oct_key = {"kty": "oct", "kid": "oct", "k": urlsafe_b64encode(HMAC).decode()}
        self.body = json.dumps({"keys": [jwk, oct_key, jwk | {"kid": "local"}]}).encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(self.body), self.body))
        writer.close()


async def test_a_key_of_the_jwk_set_is_fetched_and_then_known() -> None:
    source = Source()
    async with await asyncio.start_server(source.serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        auth = an_authenticator(Auth(keys=(KEY,), jwks_url=url))
        token = a_token(REMOTE, kid="remote", algorithm="EdDSA")
        assert auth.known(token) is None
        principal = await auth.authenticate(token)
        assert principal.name == "alice"
        assert auth.known(token) == principal
        for wrong in (
            a_token(kid="remote"),
            a_token(kid="oct"),
            a_token(REMOTE, kid="local", algorithm="EdDSA"),
            a_token(REMOTE, kid="unknown", algorithm="EdDSA"),
            a_token(REMOTE, kid=None, algorithm="EdDSA"),
            a_token(REMOTE, kid="headrace", algorithm="EdDSA"),
        ):
            with pytest.raises(Unauthorized):
                await auth.authenticate(wrong)
        assert auth.known(a_token())
        assert source.requests == 1


async def test_where_the_jwk_set_is_away_the_token_is_not_called_wrong() -> None:
    async with await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        auth = an_authenticator(Auth(keys=(KEY,), jwks_url=url))
        with pytest.raises(Unavailable):
            await auth.authenticate(a_token(REMOTE, kid="remote", algorithm="EdDSA"))
        # What needs no set is told from it.
        assert await auth.authenticate(a_token())
        assert await auth.authenticate(SERVICE_TOKEN) == SERVICE


ORIGINS = [
    (None, True, True),
    ("https://app.example", True, True),
    ("http://node:8080", True, True),
    ("http://localhost:5173", True, False),
    ("http://127.0.0.1:1", True, False),
    ("http://[::1]:1", True, False),
    ("null", False, False),
    ("https://app.example.evil", False, False),
    ("http://localhost.evil", False, False),
]


@pytest.mark.parametrize(("origin", "embedded", "with_redis"), ORIGINS)
def test_pages_of_this_machine_are_allowed_in_embedded_mode_alone(
    origin: str | None, embedded: bool, with_redis: bool
) -> None:
    assert an_authenticator().allows_origin(origin, "node:8080") is embedded
    assert an_authenticator(redis=True).allows_origin(origin, "node:8080") is with_redis


def test_the_service_token_is_compared_as_hashes_of_one_length(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return real(a, b)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    auth = an_authenticator()
    auth.known(SERVICE_TOKEN)
    with pytest.raises(Unauthorized):
        auth.known("x")
    right = hashlib.sha256(SERVICE_TOKEN.encode()).digest()
    assert compared == [(right, right), (right, hashlib.sha256(b"x").digest())]


async def test_a_token_of_the_key_before_counts_while_that_is_known() -> None:
    token = mint(SECRET, subject="cli", publish=["p/*"], lifetime_seconds=60, now_ms=NOW_MS)
    rotated = Config(secret_key=Secret("n" * 32), secret_key_old=SECRET)
    principal = Authenticator(rotated, now_ms=lambda: NOW_MS, monotonic=lambda: 0.0).known(token)
    assert principal is not None
    assert principal.publish == ("p/*",)
    with pytest.raises(Unauthorized, match="signature"):
        Authenticator(Config(secret_key=Secret("n" * 32)), now_ms=lambda: NOW_MS, monotonic=lambda: 0.0).known(token)
    later = Authenticator(rotated, now_ms=lambda: NOW_MS + 60_000, monotonic=lambda: 0.0)
    new = mint(Secret("n" * 32), subject="cli", lifetime_seconds=60, now_ms=NOW_MS)
    for expired in (token, new):
        with pytest.raises(Expired):
            later.known(expired)


async def test_the_key_before_signs_for_no_other_key() -> None:
    config = Config(secret_key=Secret("n" * 32), secret_key_old=SECRET, auth=Auth(keys=(KEY,)))
    auth = Authenticator(config, now_ms=lambda: NOW_MS, monotonic=lambda: 0.0)
    material = own_key(SECRET).material
    assert auth.known(a_token(material, kid="headrace")) is not None
    with pytest.raises(Unauthorized, match="signature"):
        auth.known(a_token(material, kid="local"))


async def test_users_tokens_are_asked_for_where_there_are_accounts() -> None:
    async def any_project(_: ProjectName) -> None: ...

    accounts = Accounts(MemoryRecords(now_ms=lambda: 0), Vault(SECRET), require_project=any_project)
    token = accounts.token_of(await accounts.create("ann", UserChange(service_roles=["service_admin"])))
    auth = Authenticator(Config(), now_ms=lambda: NOW_MS, monotonic=lambda: 0.0, accounts=accounts)
    assert auth.known(token) is None
    principal = await auth.authenticate(token)
    assert auth.known(token) == principal == await auth.read_again(token)
    assert principal.operator
    with pytest.raises(Unauthorized):
        await auth.authenticate("0" * 64)
    with pytest.raises(Unauthorized):
        an_authenticator().known(token)
    # Nobody to tell, nothing to watch.
    an_authenticator().watch(NoConnection(), principal)
    an_authenticator().unwatch(NoConnection(), principal)


class NoConnection:
    def on_principal(self, principal: Principal | None) -> None:
        raise AssertionError


async def test_other_keys_and_origins_may_hold_under_way() -> None:
    auth = an_authenticator()
    token = a_token()
    assert auth.known(token) is not None
    auth.reconfigure(
        Config(
            service_token=Secret(SERVICE_TOKEN),
            secret_key=SECRET,
            allowed_origins=("https://other.example",),
            auth=Auth(keys=(OTHER_KEY,), anonymous_subscribe=("p/open",)),
        )
    )
    with pytest.raises(Unauthorized):
        auth.known(token)
    assert auth.known(a_token(OTHER_HMAC, kid="other")) is not None
    assert auth.known(SERVICE_TOKEN) == SERVICE
    assert auth.anonymous.subscribe == ("p/open",)
    assert auth.allows_origin("https://other.example", "node:8080")
    assert not auth.allows_origin("https://app.example", "node:8080")


async def test_claims_are_read_with_the_nodes_keys() -> None:
    auth = an_authenticator()
    assert await auth.claims(a_token()) == CLAIMS
    own = mint(SECRET, subject="bob", lifetime_seconds=60, now_ms=NOW_MS)
    assert (await auth.claims(own))["sub"] == "bob"
    for other in (SERVICE_TOKEN, "0" * 64, a_token(OTHER_HMAC), a_token(kid="other"), ""):
        with pytest.raises(Unauthorized):
            await auth.claims(other)
    with pytest.raises(Unauthorized):
        await auth.claims(a_token(), audience=("us",))


async def test_claims_keep_the_rules_of_the_node_or_of_who_asks() -> None:
    auth = an_authenticator(Auth(keys=(KEY,), issuer="us", audience=("here",)))
    token = jwt.encode({**CLAIMS, "iss": "them", "aud": "there"}, HMAC, algorithm="HS256", headers={"kid": "local"})
    assert (await auth.claims(token, issuer="them", audience=("there",)))["sub"] == "alice"
    for rules in ({"issuer": "them"}, {"audience": ("there",)}, {}):
        with pytest.raises(Unauthorized):
            await auth.claims(token, **rules)  # type: ignore[arg-type]


async def test_claims_of_the_key_before_still_count() -> None:
    config = Config(service_token=Secret(SERVICE_TOKEN), secret_key=Secret("n" * 32), secret_key_old=SECRET)
    auth = Authenticator(config, now_ms=lambda: NOW_MS, monotonic=lambda: 0.0)
    old = mint(SECRET, subject="bob", lifetime_seconds=60, now_ms=NOW_MS)
    assert (await auth.claims(old))["sub"] == "bob"


async def test_claims_may_need_a_key_of_the_set() -> None:
    auth = an_authenticator(Auth(jwks_url="http://127.0.0.1:9/"))
    with pytest.raises(Unavailable):
        await auth.claims(a_token(REMOTE, kid="remote", algorithm="EdDSA"))
