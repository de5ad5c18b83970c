"""`headrace subscriptions` against a real node, and against answers that no node gives."""

import io
import json
from collections.abc import Iterator

import httpx
import nodes
import pytest
import typer
from nodes import Node

from gateway.commands import subscriptions
from gateway.commands.subscriptions import Wanted, line_of, path_of
from gateway.commands.target import Target
from gateway.commands.terminal import MISUSED
from gateway.commands.topics import Api
from headrace import Client

JOBS = "default/jobs"
TOPIC = "default/lines"


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with nodes.node() as running:
        yield running


@pytest.fixture
def api(node: Node) -> Iterator[Api]:
    """The node's API, with the topic and no subscription on it."""
    made = Api(Target((node.url,), node.token))
    with httpx.Client(base_url=node.url, headers=node.headers) as http:
        http.put("/v1/projects/default/topics/lines")
        http.put("/v1/projects/default/topics/dead")
        yield made
        http.delete("/v1/projects/default/subscriptions/jobs")


async def publish(node: Node, *texts: str) -> None:
    async with Client(node.url, token=node.token) as client:
        for text in texts:
            await client.publish(TOPIC, text=text)


def pulled(api: Api, *, count: int = 10, acknowledges: bool = False, as_json: bool = False) -> bytes:
    out = io.BytesIO()
    subscriptions.pull(api, JOBS, count=count, acknowledges=acknowledges, as_json=as_json, out=out)
    return out.getvalue()


def test_a_subscription_comes_and_goes(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    subscriptions.create(api, JOBS, Wanted(topic=TOPIC))
    subscriptions.show_list(api, "default", as_json=False)
    subscriptions.delete(api, JOBS)
    subscriptions.show_list(api, "default", as_json=True)
    assert capsys.readouterr().out == "default/jobs\n"


def test_what_was_wanted_is_shown(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = Wanted(
        topic=TOPIC,
        shared=True,
        ack_deadline_s=30,
        max_attempts=5,
        dead_letter_topic="default/dead",
        ordering_attribute="key",
    )
    subscriptions.create(api, JOBS, wanted)
    subscriptions.show_one(api, JOBS, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert (shown["kind"], shown["ackDeadlineSeconds"], shown["maxAttempts"]) == ("shared", 30, 5)
    assert (shown["deadLetterTopic"], shown["orderingAttribute"]) == ("projects/default/topics/dead", "key")
    assert shown["offsets"].keys() == {"max", "min", "current"}
    subscriptions.show_one(api, JOBS, as_json=False)
    plain = capsys.readouterr().out
    assert "subscription: default/jobs\n" in plain and "kind: shared\n" in plain and "offsets: {" in plain


async def test_a_cursor_is_pulled_again_until_it_is_acked(node: Node, api: Api) -> None:
    subscriptions.create(api, JOBS, Wanted(topic=TOPIC))
    await publish(node, "a", "b", "c")
    assert pulled(api, count=2) == b"a\nb\n"
    assert pulled(api, count=2, acknowledges=True) == b"a\nb\n"
    assert pulled(api, acknowledges=True) == b"c\n"
    assert pulled(api, acknowledges=True) == b""


async def test_scripts_get_the_message_with_its_ack(node: Node, api: Api) -> None:
    subscriptions.create(api, JOBS, Wanted(topic=TOPIC, shared=True))
    await publish(node, "a")
    received = json.loads(pulled(api, as_json=True))
    assert received["message"]["data"] == "YQ=="
    assert pulled(api) == b""
    subscriptions.acknowledge(api, JOBS, [received["ackId"]])


def test_what_is_no_base64_stands_as_it_is() -> None:
    assert line_of({"message": {"data": "no base64!"}}) == b"no base64!\n"
    assert line_of({"message": {}}) == b"\n"


@pytest.mark.parametrize("name", ["jobs", "/jobs", "default/", ""])
def test_half_a_name_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        path_of(name)
    assert ended.value.exit_code == MISUSED
    assert "PROJECT/SUBSCRIPTION" in capsys.readouterr().err


def test_all_pages_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        last = request.url.params.get("pageToken") == "2"
        page = {"subscriptions": [{"name": f"/projects/p/subscriptions/{'b' if last else 'a'}"}]}
        return httpx.Response(200, json=page if last else {**page, "nextPageToken": "2"})

    subscriptions.show_list(Api(Target(("http://a",), None), transport=httpx.MockTransport(answer)), "p", as_json=False)
    assert capsys.readouterr().out == "p/a\np/b\n"


def test_a_listing_in_a_circle_ends(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "MAX_PAGES", 3)
    circle = httpx.MockTransport(lambda _: httpx.Response(200, json={"subscriptions": [], "nextPageToken": "1"}))
    with pytest.raises(typer.Exit):
        subscriptions.show_list(Api(Target(("http://a",), None), transport=circle), "p", as_json=False)
    assert "does not end" in capsys.readouterr().err
