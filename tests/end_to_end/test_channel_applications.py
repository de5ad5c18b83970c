"""Back ends of channels on two real nodes: the Python module, an application under Google's SDK, and who tells them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from textwrap import dedent

import appengine_sdk
import httpx
import nodes
import pytest
import servers
from appengine_sdk import Sdk
from nodes import Node
from receiver import Receiver, receiving

from headrace import channel
from headrace.channel import InvalidPresence, apiproxy_errors, verify_presence

SECRET = "the secret of presence, shared with the application"


@pytest.fixture(scope="module")
def port() -> int:
    """Where the application will listen."""
    return servers.free_port()


@pytest.fixture(scope="module")
def two(port: int) -> Iterator[tuple[Node, Node]]:
    env = {
        "HEADRACE_PUSH_PLAIN_HTTP": "true",
        "HEADRACE_PUSH_ALLOWED_NETWORKS": "127.0.0.0/8",
        "HEADRACE_CHANNEL_PRESENCE_URL": f"http://127.0.0.1:{port}",
        "HEADRACE_CHANNEL_PRESENCE_SECRET": SECRET,
        "HEADRACE_CHANNEL_CLIENT_ID_BYTES": "256",
    }
    with servers.valkey() as server, nodes.on(server, count=2, env=env) as (a, b):
        yield a, b


@pytest.fixture
async def receiver(port: int) -> AsyncIterator[Receiver]:
    async with receiving(port=port) as receiver:
        yield receiver


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Sdk:
    return appengine_sdk.installed(tmp_path_factory.mktemp("sdk"))


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    channel.configure()
    channel.set_maximum_client_id_length(64)


def poll(node: Node, token: str, *, client: str = "") -> str:
    """Return a page's next message, as the script of the development server asks for it."""
    query = {"command": "poll", "channel": token, "client": client}
    answer = httpx.get(f"{node.url}/_ah/channel/dev", params=query, timeout=30)
    assert answer.status_code == 200, answer.reason_phrase
    return answer.text


def connect(node: Node, token: str) -> str:
    return httpx.get(f"{node.url}/_ah/channel/dev", params={"command": "connect", "channel": token}, timeout=30).text


def test_an_application_under_the_sdk_is_led_here_by_its_environment_alone(two: tuple[Node, Node], sdk: Sdk) -> None:
    first, second = two
    script = """
        import os
        import headrace.channel
        headrace.channel.install()

        import google.appengine.api
        from google.appengine.api import channel
        from google.appengine.runtime import apiproxy_errors

        def serve(environ, start_response):
            token = channel.create_channel("player", 5)
            channel.send_message("player", "your move")
            channel.send_message(token, "again")
            print(token)
            for call in (lambda: channel.create_channel(""), lambda: channel.send_message("player", "")):
                try:
                    call()
                except channel.Error as error:
                    print(repr(error))
            start_response("200 OK", [])
            return [b""]

        application = google.appengine.api.wrap_wsgi_app(serve)
        environ = {"HTTP_X_APPENGINE_API_TICKET": os.environ["TICKET"], "REQUEST_METHOD": "GET", "PATH_INFO": "/"}
        list(application(environ, lambda *_: None))
    """
    printed = sdk.run(dedent(script), API_HOST="127.0.0.1", API_PORT=str(first.port), TICKET=first.token)

    token, *errors = printed.splitlines()
    assert errors == ["InvalidChannelClientIdError('')", "InvalidMessageError('')"]
    client = connect(second, token)
    assert [poll(second, token, client=client) for _ in range(2)] == ["your move", "again"]


def test_without_the_ticket_it_is_refused(two: tuple[Node, Node]) -> None:
    channel.configure([two[0].url, two[1].url], "wrong")
    with pytest.raises(apiproxy_errors.RPCFailedError, match="401"):
        channel.create_channel("player")
    channel.configure(two[0].url)
    with pytest.raises(apiproxy_errors.RPCFailedError, match="403"):
        channel.create_channel("player")


def test_the_nodes_know_their_own_tokens(two: tuple[Node, Node]) -> None:
    first, second = two
    channel.configure(first.url, first.token)
    channel.set_maximum_client_id_length(256)
    token = channel.create_channel("x" * 250)
    client = connect(second, token)

    channel.send_message(token, "by token")
    assert poll(second, token, client=client) == "by token"
    channel.configure(second.url, second.token)
    forged = token[:-1] + ("y" if token[-1] != "y" else "z")
    with pytest.raises(channel.InvalidChannelClientIdError):
        channel.create_channel(forged)


async def test_an_application_is_told_and_knows_by_whom(two: tuple[Node, Node], receiver: Receiver) -> None:
    first, second = two
    channel.configure(first.url, first.token)
    token = await asyncio.to_thread(channel.create_channel, "a=1&b")
    client = await asyncio.to_thread(connect, second, token)
    query = {"command": "disconnect", "channel": token, "client": client}
    await asyncio.to_thread(httpx.get, f"{first.url}/_ah/channel/dev", params=query)
    async with asyncio.timeout(30):
        while len(told := [one for one in receiver.received if b"1%26b" in one.body]) < 2:
            await asyncio.sleep(0.02)

    now = float(told[0].headers["webhook-timestamp"])
    found = [verify_presence(one.target, one.headers, one.body, secret=SECRET, now=now) for one in told]
    assert [(one.client_id, one.connected) for one in found] == [("a=1&b", True), ("a=1&b", False)]
    assert found[0].event_id != found[1].event_id
    with pytest.raises(InvalidPresence):
        verify_presence(told[0].target, told[0].headers, told[0].body, secret="another", now=now)


def test_the_module_goes_on_when_a_node_dies(two: tuple[Node, Node]) -> None:
    first, second = two
    channel.configure([first.url, second.url], first.token)
    token = channel.create_channel("survivor")
    client = connect(second, token)
    channel.send_message("survivor", "one")
    first.kill()
    channel.send_message("survivor", "two")
    again = channel.create_channel("survivor")

    assert [poll(second, token, client=client) for _ in range(2)] == ["one", "two"]
    assert again != token
