"""Answers with a reason phrase, and without where the server is not ours."""

from typing import Any

from gateway.channel.answers import JSON, answer, refuse
from gateway.channel.errors import Told
from gateway.streams import EXTENSION


class Host:
    def __init__(self, *, takes: bool) -> None:
        self.takes = takes
        self.answers: list[Any] = []

    def answer(self, *given: Any, reason: bytes) -> bool:
        self.answers.append((*given, reason))
        return self.takes


async def test_our_server_sends_the_phrase() -> None:
    host, sent = Host(takes=True), []

    async def send(event: Any) -> None:
        sent.append(event)

    scope = {"extensions": {EXTENSION: host}}
    await refuse(scope, send, Told(401, "Invalid+token."))
    await refuse(scope, send, Told(400, "Bad+request."))
    no_cache = (b"cache-control", b"no-cache")
    assert host.answers == [(401, [no_cache], b"", b"Invalid+token."), (400, [no_cache], b"", b"")]
    assert sent == []


async def test_others_send_the_rest() -> None:
    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event)

    for scope in ({}, {"extensions": {EXTENSION: Host(takes=False)}}):
        await answer(scope, send, 200, body=b"x", headers=[JSON], reason="A phrase")
    start, body = sent[:2]
    assert start["headers"] == [(b"cache-control", b"no-cache"), JSON, (b"content-length", b"1")]
    assert (start["status"], body["body"]) == (200, b"x")
    assert sent[2:] == sent[:2]
