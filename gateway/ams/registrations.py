"""Registrations in ARGO's form (contract ams.md 4.3)."""

import orjson

from broker.errors import AlreadyExists, InvalidRequest
from broker.registrations import Registration, Registrations, matching
from gateway.ams import errors, profiles, users, wire
from gateway.ams.requests import Request
from gateway.ams.table import Row

FILTERS = ("name", "status", "email", "organization", "activation_token")


async def create(request: Request) -> bytes:
    """`name` must be one that a user may have."""
    try:
        document = wire.read_object(request.body)
        name, profile = wire.text_of(document, "name") or "", profiles.read_profile(document)
    except InvalidRequest:
        raise errors.invalid_arguments("User") from None
    try:
        made = await _registrations(request).register(name, profile)
    except AlreadyExists:
        raise errors.already_exists("User") from None
    return orjson.dumps(profiles.registration_document(made, modified_by=""))


async def index(request: Request) -> bytes:
    wanted = {key: request.query.get(key, "") for key in FILTERS}
    found = matching(await _registrations(request).all(), **wanted)
    return orjson.dumps({"user_registrations": await _documents(request, found)})


async def show(request: Request) -> bytes:
    [document] = await _documents(request, [await _registrations(request).find(request.target.names["uuid"])])
    return orjson.dumps(document)


async def accept(request: Request) -> bytes:
    """The answer is the new user, who has no roles yet."""
    try:
        user = await _registrations(request).accept(request.target.names["uuid"], by=_caller(request))
    except AlreadyExists:
        raise errors.already_exists("User") from None
    return await users.shown(request, user)


async def decline(request: Request) -> bytes:
    """The body is a JSON object, perhaps with a `comment`."""
    try:
        comment = wire.text_of(wire.read_object(request.body), "comment") or ""
    except InvalidRequest:
        raise errors.invalid_body() from None
    await _registrations(request).decline(request.target.names["uuid"], comment, by=_caller(request))
    return b"{}"


async def delete(request: Request) -> bytes:
    await _registrations(request).delete(request.target.names["uuid"])
    return b""


def _registrations(request: Request) -> Registrations:
    return Registrations(request.context.accounts)


def _caller(request: Request) -> str:
    """Return the caller's uuid, empty where it is no user."""
    return request.caller.account.uuid if request.caller.account else ""


async def _documents(request: Request, found: list[Registration]) -> list[dict[str, object]]:
    names = await request.context.accounts.names_of([each.modified_by for each in found])
    return [profiles.registration_document(each, modified_by=names.get(each.modified_by, "")) for each in found]


_ONE = "/registrations/{uuid}"

ROUTES = (
    Row("GET", "/registrations", "registrations:list", index),
    Row("POST", "/registrations", "registrations:new", create),
    Row("GET", _ONE, "registrations:show", show),
    Row("DELETE", _ONE, "registrations:delete", delete),
    Row("POST", f"{_ONE}:accept", "registrations:accept", accept),
    Row("POST", f"{_ONE}:decline", "registrations:decline", decline),
)
