"""A newcomer's way through a node, and an operator's: what is printed, what survives, how it ends."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import nodes
import pytest
import servers
import websockets
from nodes import Node
from servers import eventually, free_port

from headrace import Client

COMMAND_SECONDS = 60
HEADRACE = str(Path(sys.executable).with_name("headrace"))
"""The installed command, as a newcomer types it."""
LINES = 20_000


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with nodes.node() as running:
        yield running


def command(
    node: Node | None,
    *words: str,
    stdin: bytes | None = b"",
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [HEADRACE, *words],
        input=stdin,
        capture_output=True,
        timeout=COMMAND_SECONDS,
        check=False,
        env={**(node.env if node else os.environ), **(env or {})},
        cwd=cwd,
    )


def test_a_file_goes_in_by_pub_and_comes_out_by_sub(node: Node) -> None:
    lines = b"".join(b"line %d of %s\n" % (number, b"x" * (number % 97)) for number in range(LINES))

    published = command(node, "pub", "default/file", "--json", stdin=lines)
    followed = command(node, "sub", "default/file", "--since", "earliest", "--count", str(LINES))

    assert published.returncode == 0, published.stderr
    summary = json.loads(published.stdout)
    assert (summary["stored"], summary["failed"]) == (LINES, 0)
    assert followed.returncode == 0, followed.stderr
    assert followed.stdout == lines
    assert followed.stderr == b""


def test_whole_files_and_json_go_in_and_scripts_get_positions(node: Node, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"1\n2\n")

    assert command(node, "pub", "default/mixed", "--file", str(tmp_path / "one")).returncode == 0
    assert command(node, "pub", "default/mixed", "--json-lines", stdin=b'{"a": 1}\n').returncode == 0
    followed = command(node, "sub", "default/mixed", "--since", "earliest", "--count", "2", "--json")

    first, second = map(json.loads, followed.stdout.splitlines())
    assert first["text"] == "1\n2\n"
    assert second["json"] == {"a": 1}
    assert (first["offset"], second["offset"]) == (0, 1)
    resumed = command(
        node, "sub", "default/mixed", "--since", f"{first['epoch']}-{first['offset']}", "--count", "1", "--json"
    )
    assert json.loads(resumed.stdout) == second


def test_sub_ends_quietly_when_its_reader_or_its_user_has_enough(node: Node) -> None:
    assert command(node, "pub", "default/enough", stdin=b"x\n" * 5000).returncode == 0
    follow = [HEADRACE, "sub", "default/enough", "--since", "earliest"]
    with subprocess.Popen(follow, env=node.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as head:
        assert head.stdout is not None and head.stderr is not None
        assert head.stdout.readline() == b"x\n"
        head.stdout.close()
        assert command(node, "pub", "default/enough", stdin=b"x\n" * 5000).returncode == 0
        assert head.wait(COMMAND_SECONDS) == 0
        assert head.stderr.read() == b""
    with subprocess.Popen(follow, env=node.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as interrupted:
        assert interrupted.stdout is not None and interrupted.stderr is not None
        assert interrupted.stdout.readline() == b"x\n"
        interrupted.send_signal(signal.SIGINT)
        _, said = interrupted.communicate(timeout=COMMAND_SECONDS)
        assert (interrupted.returncode, said) == (130, b"")


def test_topics_are_made_shown_and_deleted(node: Node) -> None:
    assert command(node, "topics", "create", "default/made").returncode == 0
    assert b"default/made\n" in command(node, "topics", "list").stdout
    assert json.loads(command(node, "topics", "show", "default/made", "--json").stdout)["name"].endswith("/made")
    assert command(node, "topics", "create", "default/made").returncode == 1
    assert command(node, "topics", "delete", "default/made").returncode == 0
    gone = command(node, "topics", "show", "default/made")
    assert gone.returncode == 1
    assert b"HTTP 404" in gone.stderr


def test_a_minted_token_does_what_it_grants_and_no_more(node: Node) -> None:
    minted = command(node, "token", "anna", "--pub", "default/hers", "--data", str(node.data)).stdout.decode().strip()
    hers = {"HEADRACE_TOKEN": minted}

    assert command(node, "pub", "default/hers", stdin=b"hello\n", env=hers).returncode == 0
    refused = command(node, "pub", "default/other", stdin=b"hello\n", env=hers)
    assert refused.returncode == 1
    assert b"not stored" in refused.stderr


def test_the_node_answers_operators(node: Node) -> None:
    assert httpx.get(f"{node.url}/healthz").json() == {"alive": True}
    assert httpx.get(f"{node.url}/readyz").json()["ready"] is True
    metrics = httpx.get(f"{node.url}/metrics").text
    assert "headrace_published_messages_total" in metrics
    assert node.token not in metrics
    page = httpx.get(node.url)
    assert page.status_code == 200 and "default-src 'none'" in page.headers["content-security-policy"]


def test_no_token_stands_in_a_log_line(node: Node) -> None:
    httpx.get(f"{node.url}/v1/projects?token={node.token}")
    httpx.get(f"{node.url}/nowhere?token={node.token}")

    logged = [line for line in node.log.splitlines() if line.startswith("{")]
    assert all(json.loads(line)["message"] for line in logged)
    assert not any(node.token in line for line in logged)


def test_a_newcomers_two_lines_work_as_they_are_printed(tmp_path: Path) -> None:
    """`headrace serve` with nothing set, and then exactly what it says."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    serve = [HEADRACE, "serve", "--port", str(free_port())]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=tmp_path, env=env) as child:
        try:
            said = read_greeting(child)
            topic = re.search(r"sub (\S+)(.*)", said)
            assert topic is not None
            options = topic[2].split()
            published = subprocess.run(
                [HEADRACE, "pub", topic[1], *options],
                input=b"hello\n",
                cwd=tmp_path,
                env=env,
                timeout=COMMAND_SECONDS,
                check=True,
                capture_output=True,
            )
            assert b"1 messages stored" in published.stderr
            followed = subprocess.run(
                [HEADRACE, "sub", topic[1], "--since", "earliest", "--count", "1", *options],
                cwd=tmp_path,
                env=env,
                timeout=COMMAND_SECONDS,
                check=True,
                capture_output=True,
            )
            assert followed.stdout == b"hello\n"
        finally:
            child.terminate()
            assert child.wait(nodes.STOP_SECONDS) == 0


def read_greeting(child: subprocess.Popen[bytes]) -> str:
    assert child.stdout is not None
    lines: list[str] = []
    while not (lines and " pub " in lines[-1]):
        line = child.stdout.readline()
        assert line, "the node ended"
        lines.append(line.decode())
    return "".join(lines)


async def test_sigterm_closes_sockets_with_come_back_and_ends_with_zero() -> None:
    with nodes.node() as node:
        headers = {"authorization": f"Bearer {node.token}"}
        url = node.url.replace("http", "ws") + "/v1/realtime"
        async with websockets.connect(url, additional_headers=headers) as socket:
            await socket.recv()
            ended = asyncio.create_task(asyncio.to_thread(node.terminate))
            with pytest.raises(websockets.ConnectionClosed) as closed:
                while True:
                    await asyncio.wait_for(socket.recv(), nodes.STOP_SECONDS)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
            assert await ended == 0
        assert node.engine_pid() is None, "the engine ended with its node"


def test_an_event_stream_ends_with_its_node() -> None:
    with nodes.node() as node, httpx.Client(headers=node.headers, timeout=nodes.STOP_SECONDS) as client:
        assert client.put(f"{node.url}/v1/projects/default/topics/stream").status_code == 200
        with client.stream("GET", f"{node.url}/v1/projects/default/topics/stream:stream") as stream:
            chunks = stream.iter_bytes()
            assert b"recovery" in next(chunks)
            os.kill(node.pid, signal.SIGTERM)
            # A stream that was cut would raise: this one is ended as HTTP ends a body.
            for _ in chunks:
                pass
        assert node.terminate() == 0


async def test_publishes_in_flight_are_answered_before_the_end() -> None:
    with nodes.node() as node:
        async with Client(node.url, token=node.token) as client:
            await client.connected()
            futures = [client.publish_nowait("default/flight", text=str(number)) for number in range(2000)]
            await futures[0]
            ended = asyncio.create_task(asyncio.to_thread(node.terminate))
            assert await ended == 0
            await asyncio.to_thread(node.restart)
            places = [await future for future in futures]
        assert [place.offset for place in places] == list(range(2000))


def test_a_second_node_on_the_same_data_is_refused(node: Node) -> None:
    second = command(None, "serve", "--port", "0", "--data", str(node.data), stdin=None)

    assert second.returncode != 0
    assert str(node.data).encode() in second.stderr
    assert b"Traceback" not in second.stderr
    assert httpx.get(f"{node.url}/readyz").status_code == 200


def test_a_taken_port_is_said(node: Node, tmp_path: Path) -> None:
    second = command(None, "serve", "--port", str(node.port), "--data", str(tmp_path / "data"), stdin=None)

    assert second.returncode == 1
    assert b"Address already in use" in second.stderr
    assert b"Traceback" not in second.stderr


def test_a_node_starts_without_its_redis_and_becomes_ready_when_it_comes(tmp_path: Path) -> None:
    with servers.valkey() as redis:
        redis.kill()
        env = {"HEADRACE_SECRET_KEY": "k" * 32, "HEADRACE_REDIS": redis.url}
        node = Node(tmp_path / "unused", env=env)
        node.start()
        try:
            eventually(lambda: answers(node), seconds=nodes.START_SECONDS, what="the node")
            assert httpx.get(f"{node.url}/healthz").status_code == 200
            unready = httpx.get(f"{node.url}/readyz", timeout=10)
            assert unready.status_code == 503 and unready.json()["reasons"]
            redis.restart()
            node.await_ready()
            assert node.token not in node.log
        finally:
            assert node.terminate() == 0


def answers(node: Node) -> bool:
    try:
        return httpx.get(f"{node.url}/healthz").status_code == 200
    except httpx.HTTPError:
        return False


def test_a_second_signal_hastens(tmp_path: Path) -> None:
    with nodes.node() as node:
        os.kill(node.pid, signal.SIGTERM)
        assert node.terminate() == 0
