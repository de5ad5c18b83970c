"""`GET /nodes`: the cluster as this node sees it, for the operator and `headrace nodes`.

It stands beside `/readyz` and `/metrics`, and is not public as they are: addresses and loads are nobody's business.
"""

from collections.abc import Callable, Iterable

import orjson
from fastapi import APIRouter, Request, Response

from broker.errors import HeadraceError, Unauthorized, Unavailable
from cluster.membership import Member
from cluster.node import Node
from gateway.asgi import permitted, token_of
from gateway.auth import Authenticator

JSON_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}

RETRY_AFTER = {"retry-after": "1"}


def document(members: Iterable[Member], *, own: str, now_ms: int) -> dict[str, object]:
    """Return the answer: the members in the order of their names. `own` is the id of the node that answers."""
    shown = [_shown(member, own=own, now_ms=now_ms) for member in members]
    return {"nodes": sorted(shown, key=lambda node: (str(node["name"]), str(node["id"])))}


def build(auth: Authenticator, node: Node, *, now_ms: Callable[[], int]) -> APIRouter:
    """Return the route of what `node` sees."""
    router = APIRouter(tags=["Node"])

    @router.get("/nodes", summary="The nodes of the cluster; needs the service token.", response_class=Response)
    async def nodes(request: Request) -> Response:
        headers = {name.lower(): value for name, value in request.headers.raw}
        token = token_of(headers, dict(request.query_params))
        try:
            if token is None:
                raise Unauthorized
            await permitted(auth, token, lambda caller: caller.require_operator())
        except HeadraceError as refusal:
            return _refused(refusal)
        body = orjson.dumps(document(node.members, own=node.id, now_ms=now_ms()))
        return Response(body, media_type="application/json", headers=JSON_HEADERS)

    return router


def _shown(member: Member, *, own: str, now_ms: int) -> dict[str, object]:
    told = member.advertised
    return {
        "name": told.name,
        "id": member.node,
        "url": told.url,
        "weight": told.weight,
        "version": told.version,
        "load": told.load,
        "draining": told.draining,
        # By another node's clock, which may be ahead of ours.
        "age_s": max(now_ms - told.since, 0) // 1000 if told.since else None,
        "this": member.node == own,
    }


def _refused(refusal: HeadraceError) -> Response:
    if isinstance(refusal, Unavailable):
        status, word = 503, "UNAVAILABLE"
    elif isinstance(refusal, Unauthorized):
        status, word = 401, "UNAUTHORIZED"
    else:
        status, word = 403, "FORBIDDEN"
    body = orjson.dumps({"error": {"code": status, "message": refusal.reason, "status": word}})
    headers = JSON_HEADERS | (RETRY_AFTER if status == 503 else {})
    return Response(body, status_code=status, media_type="application/json", headers=headers)
