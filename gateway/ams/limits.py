"""A project's limits, an extension of ours: read by who manages the project, changed by who manages the service.

`{"topics", "subscriptions", "publishPerSecond", "retainedBytes"}`, each a number, and `noSubscriber`, "accept" or
"refuse": what becomes of a publish that nobody would get. Null is the node's own limit.
"""

from dataclasses import asdict, replace

import orjson

from broker.errors import InvalidRequest
from broker.store.base import ProjectLimits, Unheard
from gateway.ams import errors, wire
from gateway.ams.requests import Request
from gateway.ams.table import Row

_KEYS = {
    "topics": "topics",
    "subscriptions": "subscriptions",
    "publish_per_second": "publishPerSecond",
    "retained_bytes": "retainedBytes",
    "no_subscriber": "noSubscriber",
}


async def show(request: Request) -> bytes:
    return _written((await request.catalog.project(request.project)).limits)


async def modify(request: Request) -> bytes:
    """What the body names is changed, the rest stays. Other nodes heed it within seconds."""
    project = await request.catalog.project(request.project)
    try:
        changed = replace(project, limits=_read(request.body, project.limits))
        changed = await request.catalog.configure_project(changed)
    except InvalidRequest:
        raise errors.invalid_arguments("Project") from None
    return _written(changed.limits)


def _written(limits: ProjectLimits) -> bytes:
    return orjson.dumps({_KEYS[name]: value for name, value in asdict(limits).items()})


def _read(body: bytes, limits: ProjectLimits) -> ProjectLimits:
    """Return `limits` with what `body` says instead. Raises `InvalidRequest`; the catalog checks the ranges."""
    given = {key.lower(): value for key, value in wire.read_object(body).items()}
    for name, key in _KEYS.items():
        if key.lower() in given:
            limits = _with(limits, name, given[key.lower()])
    return limits


def _with(limits: ProjectLimits, name: str, value: object) -> ProjectLimits:
    if value is None:
        return replace(limits, **{name: None})
    if name == "no_subscriber":
        if not isinstance(value, str) or value not in list(Unheard):
            raise InvalidRequest(f"{name} is accept or refuse.")
        return replace(limits, no_subscriber=Unheard(value))
    is_rate = name == "publish_per_second" and isinstance(value, float)
    if isinstance(value, bool) or not (isinstance(value, int) or is_rate):
        raise InvalidRequest(f"{name} is not a number.")
    return replace(limits, **{name: value})  # type: ignore[arg-type]


ROUTES = (
    Row("GET", "/projects/{project}:limits", "projects:limits", show),
    Row("POST", "/projects/{project}:modifyLimits", "projects:modifyLimits", modify),
)
