"""A project's members in ARGO's form (contract ams.md 4.5). Its admins see less of a user than the service's do."""

from dataclasses import replace

import orjson

from broker.errors import InvalidRequest
from broker.users import AlreadyMember, NotMember, Profile, User, UserChange
from gateway.ams import errors, profiles, users
from gateway.ams.requests import Request
from gateway.ams.table import Row


async def index(request: Request) -> bytes:
    found = await request.context.accounts.users(request.project)
    page, token = users.cut(request, found)
    details = users.wants_details(request)
    if request.caller.operator:
        return users.listing(await users.full_documents(request, page, with_projects=details), token, len(found))
    grants = await request.context.accounts.grants(page) if details else {}
    shown = [profiles.member_document(user, grants, request.project, with_projects=details) for user in page]
    return users.listing(shown, token, len(found))


async def show(request: Request) -> bytes:
    return await _shown(request, await request.context.accounts.member(request.project, _name(request)))


async def create(request: Request) -> bytes:
    """A new user of this project alone, whatever else the body says; the answer holds its token, for any caller."""
    change = users.change_of(request.body)
    roles = profiles.roles_for(change, request.project) or []
    only = UserChange(profile=Profile(email=change.profile.email), projects=[(request.project, roles)])
    return await users.make(request, only)


async def update(request: Request) -> bytes:
    """The roles in this project are replaced by what the body gives in it; nothing else of the body counts."""
    roles = profiles.roles_for(users.change_of(request.body), request.project)
    accounts, name = request.context.accounts, _name(request)
    if roles is None:
        await accounts.user(name)
        raise NotMember
    return await _shown(request, await accounts.set_roles(request.project, name, roles))


async def add(request: Request) -> bytes:
    accounts, name = request.context.accounts, _name(request)
    if request.project in (await accounts.user(name)).projects:
        raise AlreadyMember
    try:
        roles = profiles.read_roles(request.body)
    except InvalidRequest:
        raise errors.invalid_body() from None
    return await _shown(request, await accounts.add_member(request.project, name, roles))


async def remove(request: Request) -> bytes:
    await request.context.accounts.remove_member(request.project, _name(request))
    return b"{}"


async def _shown(request: Request, user: User) -> bytes:
    if request.caller.operator:
        return await users.shown(request, user)
    here = replace(user, projects={name: roles for name, roles in user.projects.items() if name == request.project})
    grants = await request.context.accounts.grants([here])
    return orjson.dumps(profiles.member_document(here, grants, request.project))


def _name(request: Request) -> str:
    return request.target.names["user"]


_MEMBER = "/projects/{project}/members/{user}"

ROUTES = (
    Row("GET", "/projects/{project}/members", "members:list", index),
    Row("GET", _MEMBER, "members:show", show),
    Row("POST", _MEMBER, "members:create", create),
    Row("PUT", _MEMBER, "members:update", update),
    Row("POST", f"{_MEMBER}:add", "members:add", add),
    Row("POST", f"{_MEMBER}:remove", "members:remove", remove),
)
