"""Origins: a matrix of pages, and of texts that try to look like one of them."""

import pytest

from gateway.origins import Origin, Origins, parse_origin

OWN = "node.example:8080"
ALLOWED = ["https://app.example.com", "http://intranet:3000", "https://[2001:db8::1]:444"]

GOOD = [
    "https://app.example.com",
    "https://app.example.com:443",
    "HTTPS://APP.example.COM",
    "http://intranet:3000",
    "https://[2001:db8::1]:444",
    # The node's own pages, whichever scheme its proxy speaks.
    "http://node.example:8080",
    "https://node.example:8080",
    "http://NODE.example:8080",
]

BAD = [
    "null",
    "",
    "*",
    "https://",
    "app.example.com",
    "http://app.example.com",
    "https://app.example.com:444",
    "https://app.example.com.evil.net",
    "https://evilapp.example.com",
    "https://app.example.com@evil.net",
    "https://evil.net/https://app.example.com",
    "https://evil.net#https://app.example.com",
    "https://evil.net?https://app.example.com",
    "https://app.example.com/",
    "https://app.example.com/path",
    "https://app.example.com ",
    " https://app.example.com",
    "https://app.example.com\n",
    "https://app.example.com, https://evil.net",
    "https://app.example.com https://evil.net",
    "https://user@app.example.com",
    "https://sub.app.example.com",
    "https://example.com",
    "https://app.example.com.",
    "https://app.example.com:",
    "https://app.example.com:0",
    "https://app.example.com:99999",
    "https://app.example.com:443443",
    "wss://app.example.com",
    "file://",
    "http://intranet",
    "http://intranet:30000",
    "http://node.example",
    "http://node.example:8081",
    "http://node.example.evil.net:8080",
    # A Cyrillic letter.
    "https://\u0430pp.example.com",
    "chrome-extension://abcdef",
    "x" * 10_000,
]

LOOPBACK = [
    "http://localhost",
    "http://localhost:3000",
    "https://localhost:8443",
    "http://LOCALHOST:1",
    "http://127.0.0.1:5173",
    "https://127.0.0.1",
    "http://[::1]:8000",
]

NOT_LOOPBACK = [
    "http://localhost.evil.net",
    "http://evil.net:80",
    "http://127.0.0.1.evil.net",
    "http://127.0.0.2",
    "http://xlocalhost",
    "http://[::1].evil.net",
    "http://[::2]",
    "http://0.0.0.0",
    "http://localhost@evil.net",
    "ws://localhost",
    "null",
]


@pytest.mark.parametrize("origin", GOOD)
def test_pages_of_the_list_and_of_the_node_are_allowed(origin: str) -> None:
    assert Origins(ALLOWED, loopback=False).allow(origin, OWN)


@pytest.mark.parametrize("origin", BAD + LOOPBACK)
def test_every_other_page_is_refused(origin: str) -> None:
    assert not Origins(ALLOWED, loopback=False).allow(origin, OWN)


@pytest.mark.parametrize("origin", LOOPBACK)
def test_pages_of_this_machine_are_allowed_in_embedded_mode(origin: str) -> None:
    assert Origins([], loopback=True).allow(origin, OWN)


@pytest.mark.parametrize("origin", NOT_LOOPBACK)
def test_what_looks_like_this_machine_is_not(origin: str) -> None:
    assert not Origins([], loopback=True).allow(origin, OWN)


def test_no_origin_is_not_a_browser() -> None:
    assert Origins([], loopback=False).allow(None, OWN)
    assert Origins([], loopback=False).allow(None, None)


SAME = [
    ("http://a", "a", True),
    ("http://a:80", "a", True),
    ("http://a", "a:80", True),
    ("https://a", "a", True),
    ("https://a", "a:443", True),
    ("https://a", "a:80", False),
    ("http://a", "b", False),
    ("http://a", None, False),
    ("http://a", "", False),
    ("http://a", "a, b", False),
    ("http://a", "a/b", False),
    ("http://a", "a@b", False),
    ("http://b", "a@b", False),
    ("http://[::5]:1", "[::5]:1", True),
    ("null", "null", False),
]


@pytest.mark.parametrize(("origin", "host", "same"), SAME)
def test_the_same_origin_is_the_same_host_and_port(origin: str, host: str | None, same: bool) -> None:
    assert Origins([], loopback=False).allow(origin, host) is same


def test_a_default_port_is_filled_in() -> None:
    assert parse_origin("https://a") == Origin("https", "a", 443)
    assert parse_origin("http://a") == Origin("http", "a", 80)
