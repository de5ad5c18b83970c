"""What may stand in a log line, and what may not."""

import io
import logging
from collections.abc import Callable, Iterator

import orjson
import pytest

from gateway.config import Secret
from gateway.logs import MAX_LINE_CHARS, QUIET, JsonLines, Plain, configure, one_line, redact, set_level

SECRET = "s3cr3t-value_0123456789"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "text",
    [
        f"GET /v1/realtime?token={SECRET} 401",
        f"GET /v1/realtime?since=now&token={SECRET}&x=1",
        f"GET /v1/projects/p/topics/t:publish?key={SECRET}",
        f"access_token={SECRET}",
        f"api_key={SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"authorization: {SECRET}",
        f"x-api-key: {SECRET}",
        f"{{'x-api-key': '{SECRET}'}}",
        f"[(b'authorization', b'Bearer {SECRET}'), (b'x-api-key', b'{SECRET}')]",
        f"sent Bearer {SECRET} to the node",
        f"connecting to redis://user:{SECRET}@db:6379/0",
        f"connecting to redis://:{SECRET}@db:6379",
        f"cookie: session={SECRET}; theme={SECRET}",
    ],
)
def test_whatever_looks_like_a_credential_goes(text: str) -> None:
    assert SECRET not in redact(text)


def test_a_jwt_goes_wherever_it_stands() -> None:
    assert redact(f"refused {JWT}, it has expired") == "refused …, it has expired"


@pytest.mark.parametrize(
    "text",
    [
        "topic default/log was created by service",
        "http://127.0.0.1:8080/v1/projects/p/topics?pageSize=10",
        "the monkey=1 of donkeys",
        "listening on [::1]:8080",
        "mail a@b to nobody",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert redact(text) == text


def test_the_rest_of_the_url_stays_readable() -> None:
    assert redact(f"/v1/realtime?token={SECRET}&since=now") == "/v1/realtime?token=…&since=now"


def test_nobody_writes_a_log_line_of_their_own() -> None:
    assert one_line("name\r\n12:00:00 info all is well\x1b[31m\u2028") == (
        "name\\r\\n12:00:00 info all is well\\x1b[31m\\u2028"
    )


def test_a_long_text_is_cut() -> None:
    assert len(one_line("x" * (2 * MAX_LINE_CHARS))) == MAX_LINE_CHARS + 1


@pytest.fixture
def logged() -> Iterator[Callable[..., str]]:
    root = logging.getLogger()
    before = list(root.handlers)
    levels = [(logger, logger.level) for logger in (root, *map(logging.getLogger, QUIET))]

    def write(style: str, *args: object, **options: object) -> str:
        stream = io.StringIO()
        configure(stream=stream, style=style, secrets=[SECRET])  # type: ignore[arg-type]
        logging.getLogger("cluster.test").warning(*args, **options)  # type: ignore[arg-type]
        return stream.getvalue()

    yield write
    root.handlers[:] = before
    for logger, level in levels:
        logger.setLevel(level)


def test_a_terminal_gets_a_plain_line(logged: Callable[..., str]) -> None:
    line = logged("plain", "primary %s is away", "a:1")

    assert line.endswith(" warning cluster.test: primary a:1 is away\n")


def test_a_pipe_gets_one_json_object_an_event(logged: Callable[..., str]) -> None:
    event = orjson.loads(logged("json", "primary\n%s is away", "a:1"))

    assert event["message"] == "primary\\na:1 is away"
    assert (event["level"], event["logger"]) == ("warning", "cluster.test")
    assert event["time"].endswith("Z")


def test_fields_are_shown_beside_the_message(logged: Callable[..., str]) -> None:
    extra = {"topic": "default/a\nb", "bytes": 3, "token": "abc", "level": "mine"}

    assert logged("plain", "created", extra=extra).endswith(
        " warning cluster.test: created topic=default/a\\nb bytes=3 token=… level=mine\n"
    )
    event = orjson.loads(logged("json", "created", extra=extra))
    assert (event["topic"], event["bytes"], event["token"], event["level"]) == ("default/a\\nb", "3", "…", "warning")


@pytest.mark.parametrize("style", ["plain", "json"])
def test_the_nodes_own_secret_goes_wherever_it_stands(logged: Callable[..., str], style: str) -> None:
    line = logged(style, "config is %s and %s and %r", {"weird": SECRET}, SECRET, Secret(SECRET))

    assert SECRET not in line
    assert "Secret(…)" in line


@pytest.mark.parametrize("style", ["plain", "json"])
def test_a_traceback_is_redacted_and_cannot_pass_for_an_event(logged: Callable[..., str], style: str) -> None:
    try:
        raise ValueError(f"token={SECRET}\n12:00:00 info root: all is well")
    except ValueError as error:
        text = logged(style, "it failed", exc_info=error)

    assert SECRET not in text
    assert "ValueError" in text
    assert not any(line.startswith("12:00:00") for line in text.splitlines())


def test_undecodable_input_does_not_break_the_line(logged: Callable[..., str]) -> None:
    assert orjson.loads(logged("json", "path %s", "\udcff"))["message"] == "path ?"


def test_style_follows_the_stream() -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    try:
        configure(stream=terminal)
        assert isinstance(root.handlers[0].formatter, Plain)
        configure(stream=io.StringIO())
        assert isinstance(root.handlers[0].formatter, JsonLines)
        assert logging.getLogger("uvicorn").level == logging.WARNING
    finally:
        root.handlers[:] = before
        root.setLevel(level)


def test_the_level_can_be_set_later(logged: Callable[..., str]) -> None:
    logged("plain", "made")
    quiet = logging.getLogger(QUIET[0])
    set_level("DEBUG")
    assert logging.getLogger("cluster.test").isEnabledFor(logging.DEBUG)
    assert not quiet.isEnabledFor(logging.INFO)
    set_level("ERROR")
    assert not quiet.isEnabledFor(logging.WARNING)


def test_a_channels_token_is_redacted_wherever_it_stands() -> None:
    token = "0123456789abcdef0123456789abcdef-channel-4294967295-1767225600-player_1.a~2Db"
    assert redact(f"GET /_ah/channel/dev?command=poll&channel={token}&client=7.a 401") == (
        "GET /_ah/channel/dev?command=poll&channel=…&client=7.a 401"
    )
    assert redact(f"({token})") == "(…)"
