"""`headrace subscriptions`: durable subscriptions over the HTTP API of any node."""

import base64
import binascii
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import quote

from gateway.commands import topics
from gateway.commands.terminal import MISUSED, fail
from gateway.commands.topics import MAX_PAGES, PAGE_SIZE, Api

MAX_PULL = 1000
"""Messages that one call may bring."""

Shown = Mapping[str, Any]
"""A subscription, or a message that was pulled, as the HTTP API shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a new subscription is to be. Seconds; None leaves a choice to the server."""

    topic: str
    shared: bool = False
    ack_deadline_s: int | None = None
    max_attempts: int | None = None
    dead_letter_topic: str | None = None
    ordering_attribute: str | None = None

    def body(self) -> dict[str, object]:
        policy = {
            "ackDeadlineSeconds": self.ack_deadline_s,
            "maxAttempts": self.max_attempts,
            "deadLetterTopic": reference(self.dead_letter_topic) if self.dead_letter_topic else None,
            "orderingAttribute": self.ordering_attribute,
        }
        chosen = {key: value for key, value in policy.items() if value is not None}
        return {"topic": reference(self.topic), "kind": "shared" if self.shared else "cursor", **chosen}


def reference(topic: str) -> str:
    """Return `projects/P/topics/T`, as a body names a topic."""
    return topics.path_of(topic).removeprefix("/v1/")


def path_of(subscription: str, verb: str = "") -> str:
    """Return a subscription's path in the HTTP API, or end the command where the name is not a full one."""
    project, slash, name = subscription.partition("/")
    if not (slash and project and name):
        fail(f"{subscription!r} is not a full name: write PROJECT/SUBSCRIPTION.", MISUSED)
    return f"/v1/projects/{quote(project, safe='')}/subscriptions/{quote(name, safe='')}{verb}"


def name_of(shown: Shown) -> str:
    """Return the full name of a subscription that the API calls `/projects/P/subscriptions/S`."""
    project, _, name = str(shown["name"]).partition("projects/")[2].partition("/subscriptions/")
    return f"{project}/{name}"


def listed(api: Api, project: str) -> Iterator[Shown]:
    """Yield all subscriptions of a project, page by page."""
    params = {"pageSize": str(PAGE_SIZE)}
    for _ in range(MAX_PAGES):
        page = api.call("GET", f"/v1/projects/{quote(project, safe='')}/subscriptions", params)
        yield from page.get("subscriptions", [])
        token = page.get("nextPageToken")
        if not token:
            return
        params["pageToken"] = token
    fail("the listing does not end")


def show_list(api: Api, project: str, *, as_json: bool) -> None:
    for shown in listed(api, project):
        print(json.dumps(shown) if as_json else name_of(shown))


def show_one(api: Api, subscription: str, *, as_json: bool) -> None:
    """Show what a subscription is, and where it stands."""
    shown = api.call("GET", path_of(subscription)) or {}
    offsets = api.call("GET", path_of(subscription, ":offsets")) or {}
    if as_json:
        print(json.dumps({**shown, "offsets": offsets}))
        return
    fields = {key: value for key, value in shown.items() if key not in ("name", "pushConfig")}
    push = (shown.get("pushConfig") or {}).get("pushEndpoint")
    more = {"pushEndpoint": push} if push else {}
    for key, value in {"subscription": subscription, **fields, **more, "offsets": offsets}.items():
        sys.stdout.write(f"{key}: {value if isinstance(value, str) else json.dumps(value)}\n")


def create(api: Api, subscription: str, wanted: Wanted) -> None:
    api.call("PUT", path_of(subscription), body=wanted.body())


def delete(api: Api, subscription: str) -> None:
    api.call("DELETE", path_of(subscription))


def pull(api: Api, subscription: str, *, count: int, acknowledges: bool, as_json: bool, out: BinaryIO) -> None:
    """Write the next messages, a line each, and acknowledge what was written if asked to."""
    path = path_of(subscription)
    body = {"maxMessages": str(min(count, MAX_PULL)), "returnImmediately": "true"}
    received = (api.call("POST", f"{path}:pull", body=body) or {}).get("receivedMessages", [])
    out.write(b"".join(json.dumps(each).encode() + b"\n" if as_json else line_of(each) for each in received))
    out.flush()
    if acknowledges and received:
        acknowledge(api, subscription, [str(each["ackId"]) for each in received])


def acknowledge(api: Api, subscription: str, ack_ids: Sequence[str]) -> None:
    api.call("POST", path_of(subscription, ":acknowledge"), body={"ackIds": list(ack_ids)})


def line_of(received: Shown) -> bytes:
    """Return a pulled message's payload as a line; what is no base64 stands as it was published."""
    data = str(received["message"].get("data", ""))
    try:
        return base64.b64decode(data, validate=True) + b"\n"
    except binascii.Error:
        return data.encode() + b"\n"
