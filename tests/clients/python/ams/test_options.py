"""The options of a call: defaults, and what is refused."""

import pytest

from headrace.ams.options import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, HttpOptions, Tls, read_options


def read(environ: dict[str, str] | None = None, **given: object) -> object:
    return read_options(HttpOptions(**given), environ=environ or {})  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        (None, (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)),
        (3, (3, 3)),
        ((1, 2.5), (1, 2.5)),
        ((None, 7), (CONNECT_TIMEOUT_S, 7)),
        ((7, None), (7, READ_TIMEOUT_S)),
    ],
)
def test_every_call_has_timeouts(timeout: object, expected: tuple[float, float]) -> None:
    options = read_options(HttpOptions(timeout=timeout), environ={})  # type: ignore[typeddict-item]
    assert (options.connect_s, options.read_s) == expected


@pytest.mark.parametrize("timeout", [0, -1, (1, 0)])
def test_a_timeout_of_nothing_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        read(timeout=timeout)


@pytest.mark.parametrize(
    ("given", "environ", "tls"),
    [
        ({}, {}, Tls()),
        ({"verify": True}, {}, Tls()),
        ({"verify": None}, {}, Tls()),
        ({"verify": False}, {"REQUESTS_CA_BUNDLE": "/ca"}, Tls("")),
        ({"verify": "/mine"}, {"REQUESTS_CA_BUNDLE": "/ca"}, Tls("/mine")),
        ({}, {"REQUESTS_CA_BUNDLE": "/ca", "CURL_CA_BUNDLE": "/curl"}, Tls("/ca")),
        ({}, {"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": "/curl"}, Tls("/curl")),
        ({"cert": "/both"}, {}, Tls(None, ("/both", None))),
        ({"cert": ("/cert", "/key")}, {}, Tls(None, ("/cert", "/key"))),
    ],
)
def test_whom_to_trust(given: HttpOptions, environ: dict[str, str], tls: Tls) -> None:
    assert read_options(given, environ=environ).tls == tls


@pytest.mark.parametrize(
    ("params", "query"),
    [
        (None, ""),
        ({"a": "x y", "b": 1}, "a=x+y&b=1"),
        ({"details": True, "none": None, "no": False}, "details=true&no=false"),
        ({"many": ["a", "b"]}, "many=a&many=b"),
    ],
)
def test_parameters(params: dict[str, object] | None, query: str) -> None:
    assert read_options(HttpOptions(params=params), environ={}).query == query


def test_headers_are_copied_and_shown_in_no_repr() -> None:
    mine = {"x-secret": "value"}
    options = read_options(HttpOptions(headers=mine), environ={})
    assert options.headers == mine
    assert options.headers is not mine
    assert "value" not in repr(options)


def test_an_unknown_option_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="proxies, stream"):
        read(stream=True, proxies={})
    read(allow_redirects=False)
