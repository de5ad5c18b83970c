"""What `headrace sub` prints: messages on standard output, what is missing on standard error."""

import asyncio

import orjson
import pytest

from gateway.commands import following
from gateway.commands.following import Enough, Printer, Request, gap_sentence, json_line_of, line_of
from headrace import Gap, Message, Position, Range, Recovery, Subscription, Unauthorized

TOPIC = "default/demo"


def message(offset: int, data: bytes = b"hello", kind: str = "text", **attributes: str) -> Message:
    return Message(TOPIC, Position(7, offset), 1_700_000_000_000, kind, data, attributes)  # type: ignore[arg-type]


class Idle:
    """The client of a subscription that is fed by hand."""

    def subscription_drained(self, subscription: Subscription) -> None: ...

    def subscription_closed(self, subscription: Subscription) -> None: ...


def subscription(*items: Message | Gap) -> Subscription:
    made = Subscription(Idle(), TOPIC)
    for item in items:
        made.push(item, "earliest")
    return made


@pytest.mark.parametrize("data", [b"", b"hello", b"carriage\r", b"\xff\x00"])
def test_a_payload_is_printed_as_it_came(data: bytes) -> None:
    assert line_of(message(0, data, "binary")) == data + b"\n"


@pytest.mark.parametrize(
    ("kind", "data", "field"),
    [
        ("text", 'grün "x"'.encode(), {"text": 'grün "x"'}),
        ("json", b'{"a":[1,null]}', {"json": {"a": [1, None]}}),
        ("binary", b"\xff\x00", {"base64": "/wA="}),
    ],
)
def test_scripts_get_the_message_with_its_position(kind: str, data: bytes, field: dict[str, object]) -> None:
    line = json_line_of(message(3, data, kind))

    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert orjson.loads(line) == {"topic": TOPIC, "epoch": 7, "offset": 3, "time": 1_700_000_000_000, **field}


def test_attributes_are_there_only_when_there_are_any() -> None:
    assert orjson.loads(json_line_of(message(0, colour="blue")))["attributes"] == {"colour": "blue"}
    assert "attributes" not in orjson.loads(json_line_of(message(0)))


@pytest.mark.parametrize(
    ("recovery", "words"),
    [
        (Recovery.TRIMMED, "retention has removed 7-3 to 7-5"),
        (Recovery.ROLLED_BACK, "a failover took back 7-3 to 7-5"),
        (Recovery.LOST, "the place is not known any more"),
    ],
)
def test_a_gap_is_said_in_words(recovery: Recovery, words: str) -> None:
    assert words in gap_sentence(Gap(TOPIC, recovery, (Range(7, 3, 5),)))


async def printed(request: Request, followed: Subscription) -> bytes:
    out: list[bytes] = []
    async with asyncio.timeout(10):
        await Printer(request, out.append).print_all(followed)
    return b"".join(out)


async def test_it_prints_until_the_subscription_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    gap = Gap(TOPIC, Recovery.TRIMMED, (Range(7, 1, 2),))
    followed = subscription(message(0, b"a"), gap, message(3, b"b"))
    followed.end(None)

    assert await printed(Request(TOPIC, "earliest"), followed) == b"a\nb\n"
    assert "7-1 to 7-2" in capsys.readouterr().err


async def test_it_ends_after_as_many_as_were_asked_for() -> None:
    out: list[bytes] = []
    followed = subscription(*(message(n, b"%d" % n) for n in range(5)))

    with pytest.raises(Enough):
        await Printer(Request(TOPIC, "earliest", count=3), out.append).print_all(followed)

    assert b"".join(out) == b"0\n1\n2\n"


async def test_what_is_queued_goes_out_in_bounded_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "MAX_BATCH", 2)
    out: list[bytes] = []
    followed = subscription(*(message(n, b"%d" % n) for n in range(5)))
    followed.end(None)

    await Printer(Request(TOPIC, "earliest"), out.append).print_all(followed)

    assert out == [b"0\n1\n", b"2\n3\n", b"4\n"]


async def test_why_the_server_ended_it_is_raised_after_the_last_message() -> None:
    out: list[bytes] = []
    followed = subscription(message(0, b"a"))
    followed.end(Unauthorized())

    with pytest.raises(Unauthorized):
        await Printer(Request(TOPIC, "earliest"), out.append).print_all(followed)

    assert out == [b"a\n"]
