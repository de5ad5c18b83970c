"""The server list: addresses, weights, and what is refused."""

import pytest

from headrace import Server
from headrace.migratorydata import MigratoryDataException
from headrace.migratorydata.addresses import parse_servers


@pytest.mark.parametrize(
    ("given", "server"),
    [
        ("127.0.0.1:8800", Server("http://127.0.0.1:8800", 1)),
        ("50 push.example.com:80", Server("http://push.example.com:80", 0.5)),
        ("0 h:1", Server("http://h:1", 0)),
        ("100 https://h", Server("https://h", 1)),
        ("ws://h:1/", Server("ws://h:1", 1)),
        ("[::1]:8800", Server("http://[::1]:8800", 1)),
    ],
)
def test_a_server_is_an_address_perhaps_with_a_weight(given: str, server: Server) -> None:
    assert parse_servers([given]) == [server]


def test_encryption_is_the_scheme_of_those_that_have_none() -> None:
    assert [server.url for server in parse_servers(["h:1", "http://h:2"], encrypted=True)] == [
        "https://h:1",
        "http://h:2",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        "h:1",
        [],
        ["h"],
        ["101 h:1"],
        ["-1 h:1"],
        ["x h:1"],
        [5],
        ["h:port"],
        [""],
        ["ftp://h:1"],
        ["h:1"] * 101,
        ["http://u:p@h:1"],
    ],
)
def test_what_is_no_list_of_servers_is_refused(wrong: object) -> None:
    with pytest.raises(MigratoryDataException) as refused:
        parse_servers(wrong)
    assert refused.value.code == MigratoryDataException.E_INVALID_URL_LIST == 8
