"""Calls over HTTP, to scripted nodes."""

from collections.abc import Callable

import pytest
from channel_scene import Answer, ScriptedNode, application_error, response, rpc_error

from headrace.channel import apiproxy_errors
from headrace.channel.cluster import Cluster

Nodes = Callable[[], ScriptedNode]

TOKEN = "token-of-the-application"


def served(answer: Answer) -> Callable[[object], Answer]:
    return lambda _: answer


def test_a_call_is_one_request(nodes: Nodes) -> None:
    node = nodes()
    node.answer = served(response(b"made"))
    with_prefix = Cluster(f"{node.url}/behind/", TOKEN)

    assert Cluster(node.url, TOKEN).call("xmpp", "CreateChannel", b"asked") == b"made"
    assert with_prefix.call("xmpp", "CreateChannel", b"asked") == b"made"
    request, headers = node.seen[0]
    assert (request.service_name, request.method, request.request) == ("xmpp", "CreateChannel", b"asked")
    assert not request.HasField("request_id")
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert headers["Content-Type"] == "application/octet-stream"
    assert [headers["path"] for _, headers in node.seen] == ["/rpc_http", "/behind/rpc_http"]


def test_without_a_token_none_is_sent(nodes: Nodes) -> None:
    node = nodes()
    Cluster(node.url).call("channel", "CreateChannel", b"")

    assert "Authorization" not in node.seen[0][1]


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 77])
def test_an_application_error(nodes: Nodes, code: int) -> None:
    node, other = nodes(), nodes()
    node.answer = served(application_error(code, "why é"))
    with pytest.raises(apiproxy_errors.ApplicationError) as raised:
        Cluster([node.url, other.url]).call("channel", "CreateChannel", b"")

    assert (raised.value.application_error, raised.value.error_detail) == (code, "why é")
    assert str(raised.value) == f"ApplicationError: {code} why é"
    assert other.seen == []


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (0, apiproxy_errors.RPCFailedError),
        (1, apiproxy_errors.CallNotFoundError),
        (2, apiproxy_errors.ArgumentError),
        (4, apiproxy_errors.OverQuotaError),
        (5, apiproxy_errors.RequestTooLargeError),
        (12, apiproxy_errors.DeadlineExceededError),
        (9, apiproxy_errors.RPCFailedError),
    ],
)
def test_an_rpc_error(nodes: Nodes, code: int, kind: type[Exception]) -> None:
    node = nodes()
    node.answer = served(rpc_error(code, "why"))
    with pytest.raises(kind, match="why"):
        Cluster(node.url).call("channel", "SendChannelMessage", b"")


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 500, 502, 503])
def test_an_error_of_http(nodes: Nodes, status: int) -> None:
    node = nodes()
    node.answer = served(status)
    with pytest.raises(apiproxy_errors.RPCFailedError, match=str(status)):
        Cluster(node.url, TOKEN).call("channel", "SendChannelMessage", b"")
    assert len(node.seen) == 1


@pytest.mark.parametrize("answer", [b"\xff", b"\x0b", b"\x1a\x01\xff", b"\x2a\x01\xff"])
def test_an_answer_that_cannot_be_read(nodes: Nodes, answer: bytes) -> None:
    node = nodes()
    node.answer = served(answer)
    with pytest.raises(apiproxy_errors.RPCFailedError, match="cannot be read"):
        Cluster(node.url).call("channel", "CreateChannel", b"")


MOVES_ON = [
    # What the first node does, and whether a token, a message may then be asked of the second.
    (served(rpc_error(0, "away")), True, True),
    (served(rpc_error(12, "late")), True, False),
    (served(503), True, False),
    (served(None), True, False),
    (served(401), False, False),
    (served(rpc_error(4, "quota")), False, False),
    (served(application_error(1, "broken")), False, False),
]


@pytest.mark.parametrize(("answer", "creates", "sends"), MOVES_ON)
def test_only_what_is_safe_goes_to_the_next_server(
    nodes: Nodes, answer: Callable[[object], Answer], creates: bool, sends: bool
) -> None:
    for method, moves in (("CreateChannel", creates), ("SendChannelMessage", sends)):
        first, second = nodes(), nodes()
        first.answer, second.answer = answer, served(response(b"second"))
        cluster = Cluster([first.url, second.url])
        if moves:
            assert cluster.call("channel", method, b"") == b"second"
        else:
            with pytest.raises(apiproxy_errors.Error):
                cluster.call("channel", method, b"")
        assert second.methods == ([method] if moves else [])


@pytest.mark.parametrize("method", ["CreateChannel", "SendChannelMessage"])
def test_a_server_that_is_not_there_is_passed_over_and_remembered(nodes: Nodes, method: str) -> None:
    node = nodes()
    cluster = Cluster(["http://127.0.0.1:1", node.url])

    for _ in range(3):
        cluster.call("channel", method, b"")
    assert node.methods == [method] * 3


def test_who_answered_last_is_asked_first(nodes: Nodes) -> None:
    first, second = nodes(), nodes()
    first.answer = served(503)
    cluster = Cluster([first.url, second.url])
    for _ in range(3):
        cluster.call("channel", "CreateChannel", b"")

    assert (len(first.seen), len(second.seen)) == (1, 3)


def test_when_nobody_is_there(nodes: Nodes) -> None:
    with pytest.raises(apiproxy_errors.RPCFailedError, match="127"):
        Cluster(["http://127.0.0.1:1", "http://127.0.0.1:2"]).call("channel", "CreateChannel", b"")


def test_the_token_is_shown_nowhere(nodes: Nodes) -> None:
    node = nodes()
    node.answer = served(401)
    cluster = Cluster(node.url, TOKEN)
    with pytest.raises(apiproxy_errors.RPCFailedError) as raised:
        cluster.call("channel", "CreateChannel", b"")

    assert TOKEN not in repr(cluster)
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "é"])
def test_what_cannot_be_a_token(token: str) -> None:
    with pytest.raises(ValueError, match="token"):
        Cluster("http://127.0.0.1:1", token)


@pytest.mark.parametrize("servers", [[], "", "ftp://a", "http://user:pass@a"])
def test_what_cannot_be_a_server(servers: str) -> None:
    with pytest.raises(ValueError, match="server"):
        Cluster(servers)


def test_it_can_be_closed_and_used_again(nodes: Nodes) -> None:
    node = nodes()
    cluster = Cluster(node.url, timeout=5)
    cluster.call("channel", "CreateChannel", b"")
    cluster.close()
    cluster.call("channel", "CreateChannel", b"")

    assert len(node.seen) == 2
