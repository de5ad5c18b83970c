"""Lines are lines, however the input was cut."""

import asyncio
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.commands import intake
from gateway.commands.intake import LineTooLong, Reader, read_files, read_lines, split_lines


@given(st.lists(st.binary(max_size=6).map(lambda b: b.replace(b"\n", b""))), st.data())
def test_lines_are_the_same_however_the_input_is_cut(lines: list[bytes], data: st.DataObject) -> None:
    text = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    found, rest = [], b""
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        some, rest = split_lines(rest, text[start:end])
        found += some

    assert (found, rest) == (lines, b"")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\nb\n", [b"a", b"b"]),
        (b"a\nb", [b"a", b"b"]),
        (b"a\r\nb\r\n", [b"a\r", b"b\r"]),
        (b"\n\n", [b"", b""]),
        (b"\xff\x00\n", [b"\xff\x00"]),
    ],
)
def test_the_last_line_needs_no_end(text: bytes, lines: list[bytes]) -> None:
    assert [line for chunk in read_lines(io.BufferedReader(io.BytesIO(text))) for line in chunk] == lines  # type: ignore[arg-type]


def test_a_line_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_LINE_BYTES", 10)

    with pytest.raises(LineTooLong):
        list(read_lines(io.BufferedReader(io.BytesIO(b"x" * 11))))  # type: ignore[arg-type]


def test_a_file_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1\n2\n")
    (tmp_path / "b").write_bytes(b"")

    assert list(read_files([tmp_path / "a", tmp_path / "b"])) == [[b"1\n2\n"], [b""]]


async def test_a_line_is_there_before_the_pipe_brings_the_next() -> None:
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as stream, open(write_end, "wb", buffering=0) as pipe:  # noqa: PTH123
        chunks = aiter(Reader(read_lines(stream)))
        async with asyncio.timeout(10):
            pipe.write(b"one\n")
            assert await anext(chunks) == [b"one"]
            pipe.write(b"two\nthree\n")
            assert await anext(chunks) == [b"two", b"three"]
            pipe.close()
            with pytest.raises(StopAsyncIteration):
                await anext(chunks)


async def test_more_chunks_than_are_read_ahead_all_arrive() -> None:
    wanted = [[b"%d" % number] for number in range(5 * intake.MAX_CHUNKS)]

    async with asyncio.timeout(10):
        assert [chunk async for chunk in Reader(iter(wanted))] == wanted


async def test_a_reading_error_reaches_the_publisher(tmp_path: Path) -> None:
    async with asyncio.timeout(10):
        with pytest.raises(FileNotFoundError):
            _ = [chunk async for chunk in Reader(read_files([tmp_path / "none"]))]
