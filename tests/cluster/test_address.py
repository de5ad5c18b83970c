"""Topology URLs, good and bad, and secrets that stay secret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.address import Access, Address, Endpoint, InvalidAddress, parse_address


@pytest.mark.parametrize(
    ("url", "seeds", "is_cluster"),
    [
        ("redis://localhost", [Endpoint("localhost", 6379)], False),
        ("redis://10.0.0.1:7000", [Endpoint("10.0.0.1", 7000)], False),
        ("redis://[::1]:7000/0", [Endpoint("::1", 7000)], False),
        ("redis://[::1]", [Endpoint("::1", 6379)], False),
        ("redis+cluster://a,b:7001", [Endpoint("a", 6379), Endpoint("b", 7001)], True),
        ("redis+cluster://user:pw@a:1,b:2/0", [Endpoint("a", 1), Endpoint("b", 2)], True),
        ("unix:///run/redis.sock", [Endpoint(path="/run/redis.sock")], False),
    ],
)
def test_good_addresses(url: str, seeds: list[Endpoint], is_cluster: bool) -> None:
    address = parse_address(url)
    assert list(address.seeds) == seeds
    assert address.is_cluster is is_cluster
    assert address.access.tls is None


@pytest.mark.parametrize(
    ("url", "access"),
    [
        ("redis://h", Access()),
        ("redis://:pw@h", Access(password="pw")),
        ("redis://me:p%40w%2F@h/3", Access(username="me", password="p@w/", database=3)),
        ("redis://h?db=4", Access(database=4)),
        ("unix://:pw@/s?db=2", Access(password="pw", database=2)),
    ],
)
def test_credentials_and_database(url: str, access: Access) -> None:
    assert parse_address(url).access == access


def test_tls() -> None:
    assert parse_address("rediss://h").access.tls is not None
    assert parse_address("rediss+cluster://h,i").access.tls is not None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://h",
        "redis://",
        "redis://a,b",
        "redis://a,",
        "redis+cluster://a,,b",
        "redis://h:0",
        "redis://h:65536",
        "redis://h:port",
        "redis://h/one",
        "redis://h/99999",
        "redis+cluster://h/1",
        "redis://[::1",
        "redis://[::1]7000",
        "redis://h?timeout=3",
        "unix://",
        "unix:///",
        "unix://host/path",
        "rediss://h?ssl_ca_certs=/does/not/exist",
        "redis+cluster://" + ",".join(["h"] * 65),
    ],
)
def test_bad_addresses(url: str) -> None:
    with pytest.raises(InvalidAddress):
        parse_address(url)


def test_sentinel_is_refused_as_coming_later() -> None:
    with pytest.raises(InvalidAddress, match="later"):
        parse_address("redis+sentinel://:hunter2@a,b/service")


@given(st.text("ab:/@?#[]%,0", min_size=0, max_size=12))
def test_a_password_shows_nowhere(tail: str) -> None:
    for url in (
        f"redis://me:hunter2@{tail}",
        f"redis://hunter2{tail}@host:x",
        f"hunter2{tail}",
        f"redis://:hunter2/{tail}",
    ):
        try:
            address = parse_address(url)
        except InvalidAddress as error:
            assert "hunter2" not in str(error)
        else:
            assert "hunter2" not in repr(address)


def test_a_password_is_not_in_the_repr() -> None:
    address = parse_address("redis+cluster://me:hunter2@a:1,b:2")
    assert isinstance(address, Address)
    assert "hunter2" not in repr(address)
    assert address.access.password == "hunter2"


def test_endpoints_read_like_addresses() -> None:
    assert str(Endpoint("h", 1)) == "h:1"
    assert str(Endpoint("::1", 1)) == "[::1]:1"
    assert str(Endpoint(path="/s")) == "/s"
