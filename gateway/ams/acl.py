"""Access lists of topics and subscriptions (contract ams.md 4.9)."""

import orjson

from broker.acls import Resource
from broker.errors import InvalidRequest
from broker.names import local_of
from gateway.ams import errors, wire
from gateway.ams.requests import Request
from gateway.ams.table import Row


async def show_topic(request: Request) -> bytes:
    await request.catalog.topic(request.target.topic)
    return await _show(request, Resource.TOPIC, local_of(request.target.topic))


async def show_subscription(request: Request) -> bytes:
    await request.context.subscriptions.get(request.subscription)
    return await _show(request, Resource.SUBSCRIPTION, local_of(request.subscription))


async def modify_topic(request: Request) -> bytes:
    names = _read(request.body, "Topic ACL")
    await request.catalog.topic(request.target.topic)
    return await _replace(request, Resource.TOPIC, local_of(request.target.topic), names)


async def modify_subscription(request: Request) -> bytes:
    names = _read(request.body, "Subscription ACL")
    await request.context.subscriptions.get(request.subscription)
    await request.context.accounts.set_acl(
        request.project, Resource.SUBSCRIPTION, local_of(request.subscription), names
    )
    return b""


async def _show(request: Request, resource: Resource, name: str) -> bytes:
    return orjson.dumps({"authorized_users": await request.context.accounts.acl(request.project, resource, name)})


async def _replace(request: Request, resource: Resource, name: str, user_names: list[str]) -> bytes:
    await request.context.accounts.set_acl(request.project, resource, name, user_names)
    return b""


def _read(body: bytes, what: str) -> list[str]:
    """Return the users of the new list; an empty one clears it, a missing one is a mistake."""
    try:
        names = wire.field_of(wire.read_object(body), "authorized_users")
    except InvalidRequest:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise errors.invalid_arguments(what)
    return names


_TOPIC = "/projects/{project}/topics/{topic}"
_SUBSCRIPTION = "/projects/{project}/subscriptions/{subscription}"

ROUTES = (
    Row("GET", f"{_TOPIC}:acl", "topics:acl", show_topic),
    Row("POST", f"{_TOPIC}:modifyAcl", "topics:modifyAcl", modify_topic),
    Row("GET", f"{_SUBSCRIPTION}:acl", "subscriptions:acl", show_subscription),
    Row("POST", f"{_SUBSCRIPTION}:modifyAcl", "subscriptions:modifyAcl", modify_subscription),
)
