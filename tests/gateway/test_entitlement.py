"""MigratoryData's entitlement: every mode, what its tokens may do, and what an operator is told of a mistake."""

import asyncio
import sys
import threading
from types import ModuleType
from typing import Any

import jwt
import pytest

from broker.errors import InvalidName, InvalidRequest, Unauthorized, Unavailable
from broker.rights import Principal
from gateway import entitlement as source
from gateway.auth import SERVICE, Authenticator
from gateway.config import Auth, Config, ConfigError, load
from gateway.entitlement import Entitlement, MigratoryData, Mode, Subjects, load_hook, nameless
from gateway.keys import Algorithm, VerificationKey
from gateway.options import Secret

NOW_MS = 1_700_000_000_000
KEY = VerificationKey("k", Algorithm.HS256, b"h" * 32)
SERVICE_TOKEN = "the-service-token-of-this-test"
VERDICTS: dict[str, Any] = {
    "reader": {"sub": ["/Stocks/*"], "name": "r", "expires_ms": NOW_MS + 1000},
    "writer": {"all": ["/Stocks/NYSE/IBM"], "pub": ["news/today"]},
    "nobody": None,
    "odd": {"sub": "/Stocks/*"},
    "list": ["/Stocks/*"],
    "late": {"expires_ms": "tomorrow"},
    "named": {"name": ""},
}


def judge(token: str) -> object:
    if token == "secret-that-breaks":
        raise RuntimeError(token)
    return VERDICTS[token]


@pytest.fixture(autouse=True)
def hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("hooks_of_this_test")
    module.judge, module.word = judge, "x"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)


def an_authenticator(chosen: MigratoryData) -> Authenticator:
    config = Config(service_token=Secret(SERVICE_TOKEN), auth=Auth(keys=(KEY,)), migratorydata=chosen)
    return Authenticator(config, now_ms=lambda: NOW_MS, monotonic=lambda: 0.0)


def custom() -> MigratoryData:
    return MigratoryData(entitlement=Mode.CUSTOM, entitlement_hook="hooks_of_this_test:judge")


@pytest.mark.parametrize(
    ("pattern", "plain", "in_project"),
    [
        ("/Stocks/NYSE/IBM", "Stocks/NYSE/IBM", "p/Stocks/NYSE/IBM"),
        ("/Stocks/*", "Stocks/*", "p/Stocks/*"),
        ("/*", "*", "p/*"),
        ("news/*", "news/*", "news/*"),
    ],
)
def test_a_pattern_of_subjects_is_one_of_topics(pattern: str, plain: str, in_project: str) -> None:
    assert Subjects().pattern(pattern) == plain
    assert Subjects("p").pattern(pattern) == in_project


def test_permissions_are_to_publish_to_follow_and_both() -> None:
    given = {"pub": ["/a/b"], "sub": ["c/*"], "all": ["/d/*"], "more": 1}
    assert Subjects().permissions(given) == (("a/b", "d/*"), ("c/*", "d/*"))
    assert Subjects().permissions({}) == ((), ())


@pytest.mark.parametrize("given", [None, [], "x", {"pub": "x"}, {"all": [1]}, {"sub": None}, {"all": ["/*/b"]}])
def test_what_is_no_permission_is_refused(given: object) -> None:
    with pytest.raises((InvalidRequest, InvalidName)):
        Subjects().permissions(given)


def test_without_a_mode_nothing_is_granted() -> None:
    auth = an_authenticator(MigratoryData())
    assert not auth.anonymous.has_rights
    with pytest.raises(Unauthorized):
        auth.known("some-token")


@pytest.mark.parametrize(("project", "every"), [("", "*"), ("p", "p/*")])
def test_none_lets_everybody_use_subjects(project: str, every: str) -> None:
    chosen = MigratoryData(entitlement=Mode.NONE, project=project)
    own = Principal("@anonymous", publish=("q/a",))
    entitled = Entitlement(chosen).anonymous(own)
    assert (entitled.publish, entitled.subscribe) == (("q/a", every), (every,))
    auth = an_authenticator(chosen)
    assert auth.anonymous.has_rights
    with pytest.raises(Unauthorized):
        auth.known("a-token-that-is-none")


def test_basic_has_one_token() -> None:
    auth = an_authenticator(MigratoryData(entitlement=Mode.BASIC, entitlement_allow_token=Secret("some-token")))
    assert auth.known("some-token") == Principal("@entitled", publish=("*",), subscribe=("*",))
    assert auth.known(SERVICE_TOKEN) is SERVICE
    assert not auth.anonymous.has_rights
    for wrong in ("some-toke", "some-token ", ""):
        with pytest.raises(Unauthorized):
            auth.known(wrong)


def test_the_token_of_another_mode_is_no_token() -> None:
    with pytest.raises(Unauthorized):
        an_authenticator(MigratoryData(entitlement_allow_token=Secret("some-token"))).known("some-token")


@pytest.mark.parametrize(("project", "topic"), [("", "Stocks/IBM"), ("p", "p/Stocks/IBM")])
def test_a_jwt_may_speak_of_subjects_and_name_nobody(project: str, topic: str) -> None:
    claims = {"exp": NOW_MS // 1000 + 60, "permissions": {"all": ["/Stocks/IBM"]}}
    token = jwt.encode(claims, b"h" * 32, headers={"kid": "k"})
    principal = an_authenticator(MigratoryData(project=project)).known(token)
    assert principal is not None
    assert (principal.publish, principal.subscribe) == ((topic,), (topic,))
    assert principal.name == nameless(token)
    assert token not in principal.name


async def test_custom_asks_the_operators_function() -> None:
    auth = an_authenticator(custom())
    assert auth.known("reader") is None
    reader = await auth.authenticate("reader")
    assert reader == Principal("@entitled:r", subscribe=("Stocks/*",), expires_ms=NOW_MS + 1000)
    writer = await auth.authenticate("writer")
    assert writer.publish == ("news/today", "Stocks/NYSE/IBM")
    assert writer.subscribe == ("Stocks/NYSE/IBM",)
    assert await auth.authenticate(SERVICE_TOKEN) is SERVICE
    with pytest.raises(Unauthorized):
        await auth.authenticate("nobody")


@pytest.mark.parametrize("token", ["odd", "list", "late", "named", "secret-that-breaks"])
async def test_a_function_that_fails_lets_nobody_in_and_tells_no_token(
    token: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Unavailable):
        await an_authenticator(custom()).authenticate(token)
    assert "entitlement hook" in caplog.text
    assert "secret-that-breaks" not in caplog.text


async def test_a_function_that_takes_too_long_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "HOOK_SECONDS", 0.01)
    go = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(token: str) -> object:
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result(10)
        return None

    monkeypatch.setattr(sys.modules["hooks_of_this_test"], "judge", slow)
    entitlement = Entitlement(custom())
    with pytest.raises(Unavailable):
        await entitlement.judge("x")
    go.set()


async def test_a_function_that_goes_on_after_its_time_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "HOOK_SECONDS", 0.01)
    monkeypatch.setattr(source, "HOOK_THREADS", 1)
    monkeypatch.setattr(source, "MAX_ASKED", 1)
    go = threading.Event()
    monkeypatch.setattr(sys.modules["hooks_of_this_test"], "judge", lambda token: go.wait(10) and None)
    entitlement = Entitlement(custom())
    with pytest.raises(Unavailable, match="in time"):
        await entitlement.judge("x")
    with pytest.raises(Unavailable, match="Too many"):
        await entitlement.judge("x")
    go.set()


async def test_waiting_tokens_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_ASKED", 0)
    with pytest.raises(Unavailable):
        await Entitlement(custom()).judge("reader")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "module:function"),
        ("hooks_of_this_test", "module:function"),
        ("no_such_module:judge", "no module"),
        ("hooks_of_this_test:none", "has no none"),
        ("hooks_of_this_test:word", "no function"),
    ],
)
def test_a_hook_that_is_none_is_said(name: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        load_hook(name)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"entitlement": "basic"}, "entitlement_allow_token"),
        ({"entitlement": "custom"}, "entitlement_hook"),
        ({"entitlement": "custom", "entitlement_hook": "no_such_module:f"}, "entitlement_hook"),
        ({"entitlement": "everybody"}, "entitlement"),
        ({"project": "a/b"}, "project"),
    ],
)
def test_mistakes_are_told_at_start(options: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load({f"migratorydata.{name}": value for name, value in options.items()}, environment={})
    flag = f"--migratorydata-{key}".replace("_", "-")
    assert any(str(mistake).startswith((flag, f"migratorydata.{key}")) for mistake in refused.value.mistakes)
