"""Subscriptions in ARGO's form: create, show, list, delete, and their ack deadlines (contract ams.md 4.8).

Headrace's own: a creation may ask for a `shared` subscription with a policy (`gateway.ams.settings`), and
`:modifyAckDeadline` with `ackIds` is about those leases alone: more time for them, or with 0 none.
"""

from collections.abc import Mapping
from dataclasses import replace

import orjson

from broker.acls import Resource
from broker.errors import AlreadyExists, HeadraceError, InvalidRequest, UnknownTopic, WrongKind
from broker.names import local_of, project_of
from broker.redelivery import MAX_ACK_DEADLINE_S
from broker.store.subscriptions import Settled, SubscriptionInfo
from gateway.ams import errors, pushconfig, receiving, wire
from gateway.ams.access import sees_subscription
from gateway.ams.pushconfig import Wanted
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
    wanted = _wanted(made)
    if wanted is not None:
        # Before the push rules, which come before the name's.
        await request.catalog.topic(made.topic)
        pushconfig.require_enabled(request)
        pushconfig.check_wanted(wanted, request.context.outgoing.rules, retry_first=False)
    try:
        info = await request.context.subscriptions.create(request.subscription, made.topic, made.settings)
    except AlreadyExists:
        raise errors.already_exists("Subscription") from None
    if wanted is None:
        return orjson.dumps(subscription_document(info))
    return orjson.dumps(subscription_document(info, await _pushed(request, info, wanted)))


def _wanted(made: Creation) -> Wanted | None:
    try:
        wanted = pushconfig.read_wanted(made.push)
    except InvalidRequest:
        raise errors.invalid_arguments("Subscription") from None
    return None if wanted.is_none else wanted


async def _pushed(request: Request, info: SubscriptionInfo, wanted: Wanted) -> Mapping[str, object]:
    """Keep the push configuration, or take the subscription back: a refused call leaves nothing behind."""
    try:
        return pushconfig.push_document(await pushconfig.store(request, info, wanted))
    except HeadraceError:
        await request.context.subscriptions.delete(info.name)
        raise


async def show(request: Request) -> bytes:
    info = await request.context.subscriptions.get(request.subscription)
    return orjson.dumps(await pushconfig.shown(request, info))


async def delete(request: Request) -> bytes:
    """Its access list and its push configuration go with it; what is returned says that deliveries ended."""
    info = await request.context.subscriptions.get(request.subscription)
    config = await request.context.pushes.get(info.name, created_ms=info.created_ms)
    await request.context.subscriptions.delete(info.name)
    await request.context.accounts.drop_acl(request.project, Resource.SUBSCRIPTION, local_of(request.subscription))
    if config is None:
        return b""
    await request.context.pushes.delete(info.name, created_ms=info.created_ms)
    ended = {"message": f"Subscription {subscription_name(info.name)} deactivated"}
    return orjson.dumps(ended) if config.verified else b""


async def index(request: Request) -> bytes:
    """A consumer that is no admin sees the subscriptions whose access list it is in, and `totalSize` counts those."""
    page = wire.read_page(request.query.get("pageSize", ""), request.query.get("pageToken", ""))
    found = await request.context.subscriptions.list(request.project)
    seen = [info for info in found if sees_subscription(request.caller, request.project, info.name)]
    shown, token = wire.cut_page(seen, page, key=_age)
    configs = await request.context.pushes.several([(info.name, info.created_ms) for info in shown])
    documents = [
        subscription_document(info, pushconfig.push_document(config))
        for info, config in zip(shown, configs, strict=True)
    ]
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
