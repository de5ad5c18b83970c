"""Topics in ARGO's form: create, get, list, delete (contract ams.md 4.6; schemas come later)."""

import orjson

from broker.errors import AlreadyExists, InvalidRequest
from broker.store.base import TopicInfo
from gateway.ams import errors, wire
from gateway.ams.requests import Request, sees_topic
from gateway.ams.table import Row


async def create(request: Request) -> bytes:
    """The body is empty, or an object; a `schema` in it is refused."""
    _refuse_schema(request.body)
    try:
        topic = await request.catalog.create_topic(request.target.topic)
    except AlreadyExists:
        raise errors.already_exists("Topic") from None
    return orjson.dumps(wire.topic_document(topic))


async def show(request: Request) -> bytes:
    return orjson.dumps(wire.topic_document(await request.catalog.topic(request.target.topic)))


async def delete(request: Request) -> bytes:
    await request.catalog.delete_topic(request.target.topic)
    return b""


async def index(request: Request) -> bytes:
    """A caller that is no operator sees the topics that its patterns cover, and `totalSize` counts those."""
    page = wire.read_page(request.query.get("pageSize", ""), request.query.get("pageToken", ""))
    seen = [t for t in await request.catalog.topics(request.target.project) if sees_topic(request.caller, t.name)]
    shown, token = wire.cut_page(seen, page, key=_age)
    topics = [wire.topic_document(topic) for topic in shown]
    return orjson.dumps({"topics": topics, "nextPageToken": token, "totalSize": len(seen)})


def _age(topic: TopicInfo) -> tuple[int, str]:
    return topic.created_ms, topic.name


def _refuse_schema(body: bytes) -> None:
    if not body.strip():
        return
    try:
        schema = wire.text_of(wire.read_object(body), "schema")
    except InvalidRequest:
        raise errors.invalid_body() from None
    if schema:
        raise errors.ArgoRefusal(400, "INVALID_ARGUMENT", "Schemas are not supported")


ROUTES = (
    Row("GET", "/projects/{project}/topics", "topics:list", index),
    Row("GET", "/projects/{project}/topics/{topic}", "topics:show", show),
    Row("PUT", "/projects/{project}/topics/{topic}", "topics:create", create),
    Row("DELETE", "/projects/{project}/topics/{topic}", "topics:delete", delete),
)
