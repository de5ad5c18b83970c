"""Servers: how they are written, and which one is asked first."""

import pytest

from headrace.ams.servers import Server, Servers, parse_server

A, B, C = "a:1", "b:2", "c:3"


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("host", Server("https", "host", "host", 443)),
        ("host:8443", Server("https", "host:8443", "host", 8443)),
        ("https://host", Server("https", "host", "host", 443)),
        ("http://host", Server("http", "host", "host", 80)),
        ("http://127.0.0.1:8080/", Server("http", "127.0.0.1:8080", "127.0.0.1", 8080)),
        ("https://[::1]:9", Server("https", "[::1]:9", "::1", 9)),
        ("https://host/ams/", Server("https", "host", "host", 443, "/ams")),
    ],
)
def test_a_server_is_a_host_or_a_url(text: str, server: Server) -> None:
    assert parse_server(text) == server
    assert parse_server(server.url) == server


@pytest.mark.parametrize("text", ["", "ftp://host", "https://", "https://me:secret@host", "host?x=1", "host#f", "h:x"])
def test_what_is_no_server_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_server(text)
    assert "secret" not in str(refused.value)


def test_a_list_needs_one_server() -> None:
    with pytest.raises(ValueError):
        Servers([])
    assert len(Servers(["a", "https://a"]).all) == 1


def hosts(servers: Servers, url: str) -> list[str]:
    return [server.host for server, _ in servers.candidates(url)]


def test_the_one_that_answered_last_is_asked_first_and_the_others_in_turn() -> None:
    servers = Servers([A, B, C])
    url = f"https://{A}/v1/status"
    assert hosts(servers, url) == ["a", "b", "c"]
    servers.prefer(servers.all[1])
    assert hosts(servers, url) == ["b", "c", "a"]
    assert hosts(servers, f"https://{C}/v1/status") == ["b", "c", "a"]
    servers.prefer(parse_server("stranger"))
    assert hosts(servers, url) == ["b", "c", "a"]


def test_each_server_has_its_own_prefix() -> None:
    servers = Servers(["https://a/x", "https://b"])
    assert [target for _, target in servers.candidates("https://a/x/v1/status?q=1")] == [
        "/x/v1/status?q=1",
        "/v1/status?q=1",
    ]


def test_a_url_of_another_server_goes_there_alone() -> None:
    servers = Servers([A, B])
    assert servers.candidates("http://z:5/v1/x?y=1") == [(parse_server("http://z:5"), "/v1/x?y=1")]
    assert hosts(servers, "https://a:11/v1") == ["a"]
    with pytest.raises(ValueError):
        servers.candidates("/v1/x")
