"""A node that ends TLS itself: browsers' and programs' way in, the original ARGO library's, and a new certificate."""

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator

import httpx
import nodes
import orjson
import pytest
import websockets
from nodes import Node
from servers import eventually

from gateway.authority import Authority, Pair

ARGO = """
import sys
from argo_ams_library import AmsMessage, ArgoMessagingService

service = ArgoMessagingService(endpoint=sys.argv[1], token=sys.argv[2], project="default")
service.create_topic("tls")
service.publish("tls", AmsMessage(data="over TLS"))
print(service.get_topic("tls")["name"])
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue("node")


@pytest.fixture(scope="module")
def node(authority: Authority, pair: Pair) -> Iterator[Node]:
    options = ("--tls-cert", str(pair.certificate), "--tls-key", str(pair.key))
    with nodes.node(options=options, ca=str(authority.files.certificate)) as running:
        yield running


def test_https_is_served_and_printed(node: Node) -> None:
    assert httpx.get(node.url, verify=node.tls or True).status_code == 200
    assert f"{node.url}/" in node.log
    with pytest.raises(httpx.ConnectError):
        httpx.get(node.url)
    with pytest.raises(httpx.HTTPError):
        httpx.get(node.url.replace("https", "http"))


async def test_messages_go_over_wss(node: Node) -> None:
    url = node.url.replace("https", "wss") + "/v1/realtime"
    async with websockets.connect(url, ssl=node.tls, additional_headers=node.headers) as socket:
        welcome = orjson.loads(await socket.recv())
        assert welcome["servers"] == [{"url": node.url, "weight": 1}]
        await socket.send('{"op":"subscribe","topic":"default/wss"}')
        assert orjson.loads(await socket.recv())["op"] == "subscribed"
        text = "x" * 300_000
        await socket.send(orjson.dumps({"op": "publish", "topic": "default/wss", "text": text}).decode())
        seen = [orjson.loads(await socket.recv()) for _ in range(2)]
        assert {frame["op"] for frame in seen} == {"message", "published"}
        assert next(frame for frame in seen if frame["op"] == "message")["text"] == text


def test_the_original_library_comes_in_by_its_environment_alone(node: Node, authority: Authority) -> None:
    env = {**os.environ, "REQUESTS_CA_BUNDLE": str(authority.files.certificate)}
    done = subprocess.run(
        [sys.executable, "-c", ARGO, f"localhost:{node.port}", node.token],
        env=env,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().strip() == "/projects/default/topics/tls"


async def test_a_changed_certificate_is_served_without_a_restart(node: Node, authority: Authority, pair: Pair) -> None:
    before, pid = await serial(node), node.pid
    authority.issue("node")
    async with asyncio.timeout(30):
        while await serial(node) == before:
            await asyncio.sleep(0.1)
    assert node.pid == pid
    pair.certificate.write_text("not a certificate")
    eventually(lambda: "the certificate is kept as it was" in node.log, seconds=30)
    assert await serial(node) != before


async def serial(node: Node) -> str:
    _, writer = await asyncio.open_connection("127.0.0.1", node.port, ssl=node.tls)
    certificate = writer.get_extra_info("peercert")
    writer.close()
    return str(certificate["serialNumber"])


def test_a_certificate_that_cannot_be_used_is_an_error_at_the_start(authority: Authority, pair: Pair) -> None:
    options = ["--tls-cert", str(authority.files.certificate), "--tls-key", str(pair.key)]
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "serve", "--port", "0", "--redis", "redis://127.0.0.1:1", *options],
        env={**os.environ, "HEADRACE_SERVICE_TOKEN": "t" * 32, "HEADRACE_SECRET_KEY": "k" * 32},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr.decode()
    assert b"no usable pair" in done.stdout + done.stderr


def test_old_tls_is_not_spoken(node: Node, authority: Authority) -> None:
    context = ssl.create_default_context(cafile=str(authority.files.certificate))
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError):
        httpx.get(node.url, verify=context)
