"""Topics in ARGO's form: create, get, list, delete (contract ams.md 4.6)."""

import orjson

from broker.acls import Resource
from broker.errors import AlreadyExists, HeadraceError
from broker.history import History
from broker.names import local_of
from broker.schema_catalog import read_reference
from broker.store.base import TopicInfo
from gateway.ams import errors, wire
from gateway.ams.access import sees_topic
from gateway.ams.requests import Request
from gateway.ams.schemas import read_topic_body
from gateway.ams.table import Row


async def create(request: Request) -> bytes:
    """The body is empty, or an object, perhaps with the reference of a `schema`."""
    reference = read_topic_body(request.body) if request.body.strip() else ""
    schema = read_reference(reference, request.project) if reference else None
    schemas = request.context.schemas
    if schema is not None:
        await schemas.schema(request.project, schema)
    try:
        topic = await request.catalog.create_topic(request.target.topic)
    except AlreadyExists:
        raise errors.already_exists("Topic") from None
    if schema is not None:
        await _bind(request, schema)
    return orjson.dumps(wire.topic_document(topic, schema))


async def _bind(request: Request, schema: str) -> None:
    """Attach the schema to the new topic, or take the topic back: a refused call leaves nothing behind."""
    try:
        await request.context.schemas.attach(request.target.topic, schema)
    except HeadraceError:
        await request.catalog.delete_topic(request.target.topic)
        raise


async def show(request: Request) -> bytes:
    topic = await request.catalog.topic(request.target.topic)
    return orjson.dumps(wire.topic_document(topic, await request.context.schemas.schema_of(topic.name)))


async def delete(request: Request) -> bytes:
    """Made again, it has neither schema nor access list. The project's daily counts do not fall."""
    traffic = await request.catalog.traffic(request.target.topic)
    await request.catalog.delete_topic(request.target.topic)
    await History(request.context.accounts.records).add(request.project, dict(traffic.days))
    await request.context.schemas.detach(request.target.topic)
    await request.context.accounts.drop_acl(request.project, Resource.TOPIC, local_of(request.target.topic))
    return b""


async def index(request: Request) -> bytes:
    """A caller that is no operator sees the topics that its patterns cover, and `totalSize` counts those."""
    page = wire.read_page(request.query.get("pageSize", ""), request.query.get("pageToken", ""))
    found = await request.catalog.topics(request.project)
    seen = [topic for topic in found if sees_topic(request.caller, request.project, topic.name)]
    shown, token = wire.cut_page(seen, page, key=_age)
    bound = await request.context.schemas.schemas_of(request.project)
    topics = [wire.topic_document(topic, bound.get(topic.name)) for topic in shown]
    return orjson.dumps({"topics": topics, "nextPageToken": token, "totalSize": len(seen)})


def _age(topic: TopicInfo) -> tuple[int, str]:
    return topic.created_ms, topic.name


ROUTES = (
    Row("GET", "/projects/{project}/topics", "topics:list", index),
    Row("GET", "/projects/{project}/topics/{topic}", "topics:show", show),
    Row("PUT", "/projects/{project}/topics/{topic}", "topics:create", create),
    Row("DELETE", "/projects/{project}/topics/{topic}", "topics:delete", delete),
)
