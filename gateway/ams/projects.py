"""Projects in ARGO's form: create, get, list, update, delete (contract ams.md 4.4)."""

from dataclasses import replace

import orjson

from broker.errors import AlreadyExists, InvalidRequest
from broker.store.base import ProjectInfo
from gateway.ams import errors, wire
from gateway.ams.access import reaches
from gateway.ams.requests import Request
from gateway.ams.table import Row


async def create(request: Request) -> bytes:
    """The body is a JSON object with `description`, or without."""
    document = _read(request.body, errors.invalid_arguments("Project"))
    made = ProjectInfo(request.target.project, 0, 0, description=document.get("description", ""))
    try:
        return _shown(await request.catalog.create_project(made))
    except AlreadyExists:
        raise errors.already_exists("Project") from None


async def show(request: Request) -> bytes:
    return _shown(await request.catalog.project(request.target.project))


async def update(request: Request) -> bytes:
    """`description` replaces; what is absent or empty stays. The name stays: its logs carry it in their keys."""
    document = _read(request.body, errors.invalid_body())
    project = await request.catalog.project(request.target.project)
    if document.get("name", project.name) != project.name:
        raise errors.ArgoRefusal(400, "INVALID_ARGUMENT", "A project cannot be renamed")
    described = replace(project, description=document.get("description", project.description))
    return _shown(await request.catalog.configure_project(described))


async def delete(request: Request) -> bytes:
    """Its topics go with it."""
    await request.catalog.delete_project(request.target.project)
    await request.context.schemas.forget_project(request.target.project)
    return b""


async def index(request: Request) -> bytes:
    """A caller that is no operator sees the projects in which it has any right."""
    seen = [p for p in await request.catalog.projects() if reaches(request.caller, p.name)]
    newest_first, _ = wire.cut_page(seen, wire.PageRequest(), key=lambda p: (p.created_ms, p.name))
    return orjson.dumps({"projects": [wire.project_document(project) for project in newest_first]})


def _shown(project: ProjectInfo) -> bytes:
    return orjson.dumps(wire.project_document(project))


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
