"""What lean routes share: the credential, the query, the body, the answer."""

from typing import Any

import pytest
from http_node import OPERATOR, Node, token

from broker.accounts import Accounts
from broker.errors import Forbidden, InvalidRequest, TooLarge, Unauthorized
from broker.names import ProjectName, parse_topic
from broker.rights import Principal
from broker.store.records_memory import MemoryRecords
from broker.users import UserChange
from gateway.asgi import (
    JSON_TYPE,
    MAX_QUERY_FIELDS,
    MAX_TOKEN_CHARS,
    Answer,
    PeerGone,
    answered_at_once,
    headers_of,
    permitted,
    principal_of,
    query_of,
    read_body,
    retry_after,
    send_answer,
    token_of,
)
from gateway.auth import Authenticator
from gateway.config import Auth, Config, Secret
from gateway.streams import EXTENSION
from gateway.vault import Vault


@pytest.mark.parametrize(
    ("headers", "query", "expected"),
    [
        ({}, {}, None),
        ({b"authorization": b"Bearer abc"}, {}, "abc"),
        ({b"authorization": b"bearer  abc "}, {}, "abc"),
        ({b"authorization": b"Basic abc"}, {}, None),
        ({b"authorization": b"Bearer "}, {"token": "q"}, "q"),
        ({b"x-api-key": b"key"}, {}, "key"),
        ({b"x-api-key": b""}, {"key": "q"}, "q"),
        ({b"authorization": b"Bearer abc", b"x-api-key": b"key"}, {"token": "q"}, "abc"),
        ({b"x-api-key": b"key"}, {"key": "q"}, "key"),
        ({}, {"token": "a", "key": "b"}, "a"),
        ({}, {"token": ""}, None),
    ],
)
def test_the_first_credential_that_is_not_empty_counts(
    headers: dict[bytes, bytes], query: dict[str, str], expected: str | None
) -> None:
    assert token_of(headers, query) == expected


def test_headers_and_query_are_read_once() -> None:
    scope: dict[str, Any] = {"headers": [(b"a", b"1"), (b"a", b"2")], "query_string": b"since=last%3A5&x&y="}
    assert headers_of(scope) == {b"a": b"2"}
    assert query_of(scope) == {"since": "last:5", "x": "", "y": ""}
    assert query_of({"query_string": b""}) == {}


@pytest.mark.parametrize("raw", [b"a=\xff", b"&".join([b"a=1"] * (MAX_QUERY_FIELDS + 1))])
def test_a_query_that_cannot_be_read_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        query_of({"query_string": raw})


async def test_a_bad_token_never_counts_as_none() -> None:
    auth = Node(anonymous=Principal("@anonymous", publish=("p/*",))).auth
    assert (await principal_of(auth, None)).publish == ("p/*",)
    assert (await principal_of(auth, OPERATOR)).operator
    assert (await principal_of(auth, token(publish=("p/t",)))).publish == ("p/t",)
    for bad in ("", "nonsense", "x" * (MAX_TOKEN_CHARS + 1)):
        with pytest.raises(Unauthorized):
            await principal_of(auth, bad)


def body_in(*parts: bytes, gone: bool = False) -> Any:
    events: list[dict[str, Any]] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if gone:
        events.append({"type": "http.disconnect"})
    else:
        events[-1]["more_body"] = False

    async def receive() -> dict[str, Any]:
        return events.pop(0)

    return receive


async def test_a_body_is_joined_within_its_bound() -> None:
    assert await read_body(body_in(b""), max_bytes=0) == b""
    assert await read_body(body_in(b"abc"), max_bytes=3) == b"abc"
    assert await read_body(body_in(b"ab", b"", b"c"), max_bytes=3) == b"abc"


@pytest.mark.parametrize("parts", [(b"abcd",), (b"ab", b"cd"), (b"abcd", b"")])
async def test_a_larger_body_is_refused(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(TooLarge):
        await read_body(body_in(*parts), max_bytes=3)


@pytest.mark.parametrize("parts", [(), (b"ab",)])
async def test_a_peer_that_leaves_is_not_answered(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(PeerGone):
        await read_body(body_in(*parts, gone=True), max_bytes=100)


class Host:
    """The part of the HTTP protocol that writes whole answers."""

    def __init__(self) -> None:
        self.answers: list[tuple[Any, ...]] = []

    def answer(self, *answer: Any) -> bool:
        self.answers.append(answer)
        return True


def test_an_answer_goes_past_send_unless_a_page_asked() -> None:
    host, answer = Host(), Answer(200, b"{}", [(b"x", b"y")])
    scope: dict[str, Any] = {"headers": [(b"host", b"a")], "extensions": {EXTENSION: host}}
    assert answered_at_once(scope, answer)
    assert host.answers == [(200, (JSON_TYPE, (b"x", b"y")), b"{}")]
    assert not answered_at_once({**scope, "headers": [(b"origin", b"http://a")]}, answer)
    assert not answered_at_once({"headers": []}, answer), "another server"
    assert len(host.answers) == 1


async def test_an_answer_has_its_type_and_length() -> None:
    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event)

    await send_answer(send, Answer(200, b"{}", [(b"x", b"y")]))
    assert sent[0]["status"] == 200
    assert dict(sent[0]["headers"]) == {
        b"content-type": b"application/json; charset=utf-8",
        b"content-length": b"2",
        b"x": b"y",
    }
    assert sent[1] == {"type": "http.response.body", "body": b"{}"}


@pytest.mark.parametrize(("ms", "seconds"), [(None, None), (0, b"1"), (1, b"1"), (1000, b"1"), (1001, b"2")])
def test_retry_after_is_in_whole_seconds(ms: int | None, seconds: bytes | None) -> None:
    assert retry_after(ms) == ([] if seconds is None else [(b"retry-after", seconds)])


class Story:
    """A user whose rights were read a moment ago, and have changed since."""

    def __init__(self) -> None:
        config = Config(secret_key=Secret("k" * 32), auth=Auth(anonymous_publish=("open/*",)))
        records = MemoryRecords(now_ms=lambda: 0)
        self.accounts = Accounts(records, Vault(Secret("k" * 32)), require_project=self._any)
        self.auth = Authenticator(config, now_ms=lambda: 0, monotonic=lambda: 0.0, accounts=self.accounts)

    async def _any(self, project: ProjectName) -> None: ...

    async def remembered(self) -> str:
        user_token = self.accounts.token_of(await self.accounts.create("ann", UserChange()))
        await principal_of(self.auth, user_token)
        # What changes from here on, changes on another node.
        self.accounts.on_change = lambda: None
        return user_token


def publishing(caller: Principal) -> None:
    caller.require_publish(parse_topic("p/t"))


async def test_a_right_that_was_given_counts_at_once() -> None:
    story = Story()
    user_token = await story.remembered()
    with pytest.raises(Forbidden):
        await permitted(story.auth, user_token, publishing)
    await story.accounts.update("ann", UserChange(projects=[("p", ["project_admin"])]))
    assert not _may(await principal_of(story.auth, user_token))
    assert _may(await permitted(story.auth, user_token, publishing))


async def test_a_token_that_is_gone_is_not_asked_about_in_vain() -> None:
    story = Story()
    user_token = await story.remembered()
    await story.accounts.delete("ann")
    with pytest.raises(Unauthorized):
        await permitted(story.auth, user_token, publishing)


async def test_who_is_no_user_is_refused_at_once() -> None:
    story = Story()
    with pytest.raises(Forbidden):
        await permitted(story.auth, None, publishing)
    with pytest.raises(Unauthorized):
        await permitted(story.auth, "nonsense", publishing)


def _may(caller: Principal) -> bool:
    try:
        publishing(caller)
    except Forbidden:
        return False
    return True
