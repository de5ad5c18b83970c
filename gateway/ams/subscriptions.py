"""Subscriptions in ARGO's form: create, show, list, delete, and their ack deadlines (contract ams.md 4.8).

Headrace's own: a creation may ask for a `shared` subscription with a policy (`gateway.ams.settings`), and
`:modifyAckDeadline` with `ackIds` is about those leases alone: more time for them, or with 0 none.
"""

from dataclasses import replace

import orjson

from broker.acls import Resource
from broker.errors import AlreadyExists, InvalidRequest, UnknownTopic, WrongKind
from broker.names import local_of, project_of
from broker.redelivery import MAX_ACK_DEADLINE_S
from broker.store.subscriptions import Settled, SubscriptionInfo
from gateway.ams import errors, receiving, wire
from gateway.ams.access import sees_subscription
from gateway.ams.requests import Request
from gateway.ams.settings import (
    Creation,
    InvalidTopicReference,
    read_creation,
    subscription_document,
    subscription_name,
)
from gateway.ams.table import Row

DEADLINE = "ackDeadlineSeconds(needs value between 0 and 600)"


async def create(request: Request) -> bytes:
    """It begins at its topic's end: only later messages are seen."""
    made = _read(request.body)
    if project_of(made.topic) != request.project:
        raise UnknownTopic
    if made.push:
        raise errors.conflict("Push functionality is currently disabled")
    try:
        info = await request.context.subscriptions.create(request.subscription, made.topic, made.settings)
    except AlreadyExists:
        raise errors.already_exists("Subscription") from None
    return orjson.dumps(subscription_document(info))


async def show(request: Request) -> bytes:
    return orjson.dumps(subscription_document(await request.context.subscriptions.get(request.subscription)))


async def delete(request: Request) -> bytes:
    """Its access list goes with it."""
    await request.context.subscriptions.delete(request.subscription)
    await request.context.accounts.drop_acl(request.project, Resource.SUBSCRIPTION, local_of(request.subscription))
    return b""


async def index(request: Request) -> bytes:
    """A consumer that is no admin sees the subscriptions whose access list it is in, and `totalSize` counts those."""
    page = wire.read_page(request.query.get("pageSize", ""), request.query.get("pageToken", ""))
    found = await request.context.subscriptions.list(request.project)
    seen = [info for info in found if sees_subscription(request.caller, request.project, info.name)]
    shown, token = wire.cut_page(seen, page, key=_age)
    documents = [subscription_document(info) for info in shown]
    return orjson.dumps({"subscriptions": documents, "nextPageToken": token, "totalSize": len(seen)})


async def of_topic(request: Request) -> bytes:
    """The full names of a topic's subscriptions."""
    found = await request.context.subscriptions.of_topic(request.target.topic)
    return orjson.dumps({"subscriptions": [subscription_name(name) for name in found]})


async def modify_ack_deadline(request: Request) -> bytes:
    try:
        seconds = receiving.read_integer(request.body, "ackdeadlineseconds")
        ack_ids = receiving.read_ack_ids(request.body)
    except InvalidRequest:
        raise errors.invalid_arguments(DEADLINE) from None
    if not 0 <= seconds <= MAX_ACK_DEADLINE_S:
        raise errors.invalid_arguments(DEADLINE)
    if ack_ids is not None:
        return await _extend(request, ack_ids, seconds)
    subscriptions = request.context.subscriptions
    info = await subscriptions.get(request.subscription)
    await subscriptions.configure(request.subscription, replace(info.settings, ack_deadline_s=seconds))
    return b""


async def _extend(request: Request, ack_ids: list[object], seconds: int) -> bytes:
    """Give the named leases `seconds` from now, or take them back with 0."""
    try:
        acks = receiving.acks_of(ack_ids, request.project, local_of(request.subscription))
        settled = await request.context.subscriptions.extend(request.subscription, acks, deadline_s=seconds)
    except WrongKind:
        raise
    except InvalidRequest:
        raise errors.invalid("Invalid ack id") from None
    if any(each is not Settled.OK for each in settled):
        raise errors.leases_over(ack_ids, settled)
    return b""


def _read(body: bytes) -> Creation:
    try:
        return read_creation(body)
    except InvalidTopicReference:
        raise errors.invalid_name("Topic") from None
    except InvalidRequest:
        raise errors.invalid_arguments("Subscription") from None


def _age(info: SubscriptionInfo) -> tuple[int, str]:
    return info.created_ms, info.name


_ONE = "/projects/{project}/subscriptions/{subscription}"

ROUTES = (
    Row("GET", "/projects/{project}/subscriptions", "subscriptions:list", index),
    Row("GET", _ONE, "subscriptions:show", show),
    Row("PUT", _ONE, "subscriptions:create", create),
    Row("DELETE", _ONE, "subscriptions:delete", delete),
    Row("POST", f"{_ONE}:modifyAckDeadline", "subscriptions:modifyAckDeadline", modify_ack_deadline),
    Row("GET", "/projects/{project}/topics/{topic}/subscriptions", "topics:subscriptions", of_topic),
)
