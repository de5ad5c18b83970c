"""Reports on value added: what projects published and made in a window of days (contract ams.md 4.1)."""

from collections.abc import Iterable

import orjson

from broker.errors import InvalidRequest, Unauthorized, UnknownProject
from broker.names import ProjectName
from broker.roles import Role
from gateway.ams import errors, measures, metrics
from gateway.ams.measures import Activity, Document, Window
from gateway.ams.requests import Request
from gateway.ams.table import Needs, Row
from gateway.context import Context


async def value_added(request: Request) -> bytes:
    """Over all projects, or those that `projects` names, separated by commas."""
    window, wanted = _window(request), _wanted(request)
    existing = {project.name for project in await request.catalog.projects()}
    for name in wanted or ():
        if name not in existing:
            raise errors.ArgoRefusal(404, "NOT_FOUND", f"Project {name} doesn't exist")
    chosen = existing if wanted is None else wanted
    return orjson.dumps(await _report(request.context, chosen, window, everyone=wanted is None))


async def usage(request: Request) -> bytes:
    """Over the projects whose admin the caller is, as far as `projects` names them. The caller has to be a user."""
    account = request.caller.account
    if account is None:
        raise Unauthorized
    window, wanted = _window(request), _wanted(request)
    own = {name for name, roles in account.projects.items() if Role.PROJECT_ADMIN in roles}
    chosen = own if wanted is None else own & set(wanted)
    report = await _report(request.context, chosen, window, everyone=False)
    shown = metrics.operational(request.context) if chosen else {"metrics": []}
    return orjson.dumps({"va_metrics": report, "operational_metrics": shown})


def _window(request: Request) -> Window:
    query = request.query
    try:
        return measures.read_window(
            query.get("start_date", ""), query.get("end_date", ""), now_ms=request.context.now_ms()
        )
    except InvalidRequest as refusal:
        raise errors.invalid(refusal.reason) from None


def _wanted(request: Request) -> list[ProjectName] | None:
    """Return the projects that the caller named, None for all."""
    names = [name.strip() for name in request.query.get("projects", "").split(",")]
    wanted = [ProjectName(name) for name in dict.fromkeys(names) if name]
    return wanted or None


async def _report(context: Context, projects: Iterable[ProjectName], window: Window, *, everyone: bool) -> Document:
    """`everyone`: users count whether or not they are members of a project."""
    users = await context.accounts.users()
    chosen = sorted(projects)
    found = [await _activity(context, name) for name in chosen]
    activities = [
        Activity(name, days, topics, subscriptions, [user.created_ms for user in users if name in user.projects])
        for name, (days, topics, subscriptions) in zip(chosen, found, strict=True)
    ]
    counted = [user for user in users if everyone or not user.projects.keys().isdisjoint(chosen)]
    return measures.report(activities, window, users_ms=[user.created_ms for user in counted])


async def _activity(context: Context, project: ProjectName) -> tuple[dict[int, int], list[int], list[int]]:
    """Return a project's messages by day, and when its topics and its subscriptions were created."""
    try:
        topics = await context.catalog.topics(project)
        subscriptions = await context.subscriptions.list(project)
    except UnknownProject:
        return {}, [], []
    days = await metrics.days_of(context, project, [info.name for info in topics])
    return days, [info.created_ms for info in topics], [info.created_ms for info in subscriptions]


ROUTES = (
    Row("GET", "/metrics/va_metrics", "ams:va_metrics", value_added),
    Row("GET", "/users/usageReport", "users:usageReport", usage, needs=Needs.TOKEN),
)
