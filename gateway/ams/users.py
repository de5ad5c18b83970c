"""Users in ARGO's form (contract ams.md 4.2). Their tokens stand in the answers: whoever may ask may be them."""

from collections.abc import Sequence

import orjson

from broker.errors import AlreadyExists, InvalidRequest, Unauthorized, UnknownProject
from broker.names import ProjectName
from broker.users import UnknownUser, User, UserChange
from gateway.ams import errors, profiles, wire
from gateway.ams.requests import Request
from gateway.ams.table import Needs, Row


async def create(request: Request) -> bytes:
    """The body is a JSON object, perhaps an empty one. The caller is the new user's creator, if it is a user."""
    return await make(request, change_of(request.body))


async def make(request: Request, change: UserChange) -> bytes:
    """Create the user that the path names, and show it with its token."""
    account = request.caller.account
    creator = account.uuid if account else ""
    try:
        user = await request.context.accounts.create(request.target.names["user"], change, created_by=creator)
    except AlreadyExists:
        raise errors.already_exists("User") from None
    return await shown(request, user)


async def show(request: Request) -> bytes:
    return await shown(request, await request.context.accounts.user(request.target.names["user"]))


async def show_by_token(request: Request) -> bytes:
    return await shown(request, await request.context.accounts.user_by_token(request.target.names["token"]))


async def show_by_uuid(request: Request) -> bytes:
    return await shown(request, await request.context.accounts.user_by_uuid(request.target.names["uuid"]))


async def profile(request: Request) -> bytes:
    """The user whose token this is; other tokens speak for no user."""
    try:
        return await shown(request, await request.context.accounts.user_by_token(request.token or ""))
    except UnknownUser:
        raise Unauthorized from None


async def update(request: Request) -> bytes:
    """Texts that are there and not empty replace, and so do whole lists that are there."""
    change = change_of(request.body)
    return await shown(request, await request.context.accounts.update(request.target.names["user"], change))


async def refresh_token(request: Request) -> bytes:
    return await shown(request, await request.context.accounts.refresh_token(request.target.names["user"]))


async def delete(request: Request) -> bytes:
    await request.context.accounts.delete(request.target.names["user"])
    return b""


async def index(request: Request) -> bytes:
    """All users, or with `project` its members; what they are in projects only with `details`."""
    project = request.query.get("project")
    if project:
        try:
            await request.catalog.project(ProjectName(project))
        except UnknownProject:
            raise errors.ArgoRefusal(404, "NOT_FOUND", "ProjectUUID doesn't exist") from None
    found = await request.context.accounts.users(ProjectName(project) if project else None)
    page, token = cut(request, found)
    return listing(await full_documents(request, page, with_projects=wants_details(request)), token, len(found))


def change_of(body: bytes) -> UserChange:
    try:
        return profiles.read_change(body)
    except InvalidRequest:
        raise errors.invalid_arguments("User") from None


async def shown(request: Request, user: User) -> bytes:
    """Return everything about a user."""
    [document] = await full_documents(request, [user])
    return orjson.dumps(document)


async def full_documents(
    request: Request, users: Sequence[User], *, with_projects: bool = True
) -> list[dict[str, object]]:
    accounts = request.context.accounts
    creators = await accounts.names_of([user.created_by for user in users])
    grants = await accounts.grants(users) if with_projects else {}
    return [
        profiles.full_document(
            user,
            grants,
            token=accounts.token_of(user),
            creator=creators.get(user.created_by, ""),
            with_projects=with_projects,
        )
        for user in users
    ]


def cut(request: Request, users: Sequence[User]) -> tuple[list[User], str]:
    """Return a page, newest first, and the next one's token. argo-ams-library sends it under another name."""
    query = request.query
    page = wire.read_page(query.get("pageSize", ""), query.get("pageToken") or query.get("nextPageToken", ""))
    return wire.cut_page(users, page, key=lambda user: (user.created_ms, user.name))


def wants_details(request: Request) -> bool:
    """argo-ams-library sends `True`."""
    return request.query.get("details", "").lower() == "true"


def listing(documents: list[dict[str, object]], token: str, total: int) -> bytes:
    return orjson.dumps({"users": documents, "nextPageToken": token, "totalSize": total})


ROUTES = (
    Row("GET", "/users", "users:list", index),
    Row("GET", "/users/profile", "users:profile", profile, needs=Needs.TOKEN),
    Row("GET", "/users/{user}", "users:show", show),
    Row("POST", "/users/{user}", "users:create", create),
    Row("PUT", "/users/{user}", "users:update", update),
    Row("DELETE", "/users/{user}", "users:delete", delete),
    Row("POST", "/users/{user}:refreshToken", "users:refreshToken", refresh_token),
    Row("GET", "/users:byToken/{token}", "users:byToken", show_by_token),
    Row("GET", "/users:byUUID/{uuid}", "users:byUUID", show_by_uuid),
)
