"""Projects in ARGO's form: create, get, list, update, delete (contract ams.md 4.4)."""

from collections.abc import Sequence
from dataclasses import replace

import orjson

from broker.catalog import MAX_DESCRIPTION_BYTES
from broker.errors import AlreadyExists, InvalidRequest
from broker.history import History
from broker.names import DEFAULT_PROJECT, is_argo_name, parse_project
from broker.store.base import ProjectInfo
from gateway.ams import errors, wire
from gateway.ams.access import reaches
from gateway.ams.requests import Request
from gateway.ams.table import Row


async def create(request: Request) -> bytes:
    """The body is a JSON object with `description`, or without."""
    document = _read(request.body, errors.invalid_arguments("Project"))
    account = request.caller.account
    creator = account.uuid if account else ""
    made = ProjectInfo(request.project, 0, 0, description=document.get("description", ""), created_by=creator)
    try:
        return await _shown(request, await request.catalog.create_project(made))
    except AlreadyExists:
        raise errors.already_exists("Project") from None


async def show(request: Request) -> bytes:
    return await _shown(request, await request.catalog.project(request.project))


async def update(request: Request) -> bytes:
    """`description` replaces, `name` renames; what is absent or empty stays."""
    document = _read(request.body, errors.invalid_body())
    project = await request.catalog.project(request.project)
    name, description = document.get("name", project.name), document.get("description", project.description)
    if len(description.encode(errors="replace")) > MAX_DESCRIPTION_BYTES:
        # Before the name is changed.
        raise errors.invalid(f"A project's description has at most {MAX_DESCRIPTION_BYTES} bytes")
    if name != project.name:
        project = await _rename(request, name)
    if name == request.project or description != project.description:
        project = await request.catalog.configure_project(replace(project, description=description))
    return await _shown(request, project)


async def _rename(request: Request, name: str) -> ProjectInfo:
    """Its members go along. Topics, subscriptions and schemas bear its name, so it must have none."""
    context, old = request.context, request.project
    if not is_argo_name(name):
        raise errors.invalid_name("project")
    if await context.subscriptions.list(old) or await context.schemas.schemas(old):
        raise errors.invalid("A project that has subscriptions or schemas cannot be renamed")
    try:
        renamed = await request.catalog.rename_project(old, parse_project(name))
    except AlreadyExists:
        raise errors.invalid("invalid project name change, name already exists") from None
    await context.accounts.rename_project(old, renamed.name)
    return renamed


async def delete(request: Request) -> bytes:
    """Its topics, subscriptions, schemas and access lists go with it; its members stay users.

    The members go first: should the node die on the way, a project that is made later under this name has none.
    """
    context, project = request.context, request.project
    await request.catalog.project(project)
    if project != DEFAULT_PROJECT:
        await context.accounts.forget_project(project)
    await request.catalog.delete_project(project)
    await context.schemas.forget_project(project)
    await History(context.accounts.records).forget(project)
    # Who became a member meanwhile.
    await context.accounts.forget_project(project)
    return b""


async def index(request: Request) -> bytes:
    """A caller that is no operator sees the projects in which it has any right."""
    seen = [p for p in await request.catalog.projects() if reaches(request.caller, p.name)]
    newest_first, _ = wire.cut_page(seen, wire.PageRequest(), key=lambda p: (p.created_ms, p.name))
    return orjson.dumps({"projects": await _documents(request, newest_first)})


async def _shown(request: Request, project: ProjectInfo) -> bytes:
    [document] = await _documents(request, [project])
    return orjson.dumps(document)


async def _documents(request: Request, projects: Sequence[ProjectInfo]) -> list[dict[str, object]]:
    names = await request.context.accounts.names_of([project.created_by for project in projects])
    return [wire.project_document(replace(each, created_by=names.get(each.created_by, ""))) for each in projects]


def _read(body: bytes, otherwise: errors.ArgoRefusal) -> dict[str, str]:
    """Return the text fields that are there and not empty, or raise `otherwise`."""
    try:
        document = wire.read_object(body)
        fields = {name: wire.text_of(document, name) for name in ("name", "description")}
    except InvalidRequest:
        raise otherwise from None
    return {name: value for name, value in fields.items() if value}


ROUTES = (
    Row("GET", "/projects", "projects:list", index),
    Row("GET", "/projects/{project}", "projects:show", show),
    Row("POST", "/projects/{project}", "projects:create", create, creates_project=True),
    Row("PUT", "/projects/{project}", "projects:update", update),
    Row("DELETE", "/projects/{project}", "projects:delete", delete),
)
