"""The service itself in ARGO's form: its status and its version (contract ams.md 4.1).

Both answer without a token. What is for admins alone asks for a user's token by itself, and refuses with the codes of
the original, which are swapped: 403 for a token that is not known, 401 for one that may not.
"""

import platform
import time
from urllib.parse import urlsplit

import orjson

from broker.errors import Forbidden, HeadraceError, Unauthorized
from broker.rights import Principal
from broker.roles import Role
from gateway.ams.requests import NO_PROJECT, Request
from gateway.ams.table import Needs, Row
from gateway.asgi import principal_of
from gateway.metrics import node_version

_STARTED = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

PRIVATE = {Role.ADMIN_VIEWER, Role.SERVICE_ADMIN}


async def status(request: Request) -> bytes:
    """Pushes are sent by the nodes themselves: this one is the list of push servers, and it serves if it answers."""
    answer: dict[str, object] = {"status": "ok"}
    details = request.query.get("details", "").lower() == "true"
    if details:
        await _require_private(request)
    if not request.context.config.push.enabled:
        answer["push_functionality"] = "disabled"
    elif details:
        answer["push_servers"] = [{"endpoint": _endpoint(request), "status": "SERVING"}]
    return orjson.dumps(answer)


async def version(request: Request) -> bytes:
    """Fails on no token; `release` is for admins."""
    system = platform.uname()
    answer = {
        "build_time": _STARTED,
        "golang": "",
        "compiler": f"{platform.python_implementation()} {platform.python_version()}",
        "os": system.system.lower(),
        "architecture": system.machine,
        "hostname": _endpoint(request).rpartition(":")[0],
    }
    try:
        await _require_private(request)
        answer["release"] = node_version()
    except HeadraceError:
        pass
    return orjson.dumps(answer)


async def _require_private(request: Request) -> None:
    """Raise `Forbidden` for a token that is not known, `Unauthorized` for one that may not."""
    if request.token is None:
        raise Forbidden
    try:
        caller = await principal_of(request.context.auth, request.token)
    except Unauthorized:
        raise Forbidden from None
    if not _is_private(caller):
        raise Unauthorized


def _is_private(caller: Principal) -> bool:
    roles = caller.account.roles_in(NO_PROJECT) if caller.account else frozenset()
    return caller.operator or not PRIVATE.isdisjoint(roles)


def _endpoint(request: Request) -> str:
    """Return `host:port` as clients reach this node."""
    config = request.context.config
    return urlsplit(config.advertise).netloc or f"{config.host}:{config.port}"


ROUTES = (
    Row("GET", "/status", "ams:status", status, needs=Needs.NOTHING),
    Row("GET", "/version", "ams:version", version, needs=Needs.NOTHING),
)
