"""Schemas in ARGO's form, and what binds topics to them (contract ams.md 4.12, 4.6)."""

from collections.abc import Mapping

import orjson

from broker.errors import AlreadyExists, InvalidRequest, UnknownSchema
from broker.messages import Kind, Message
from broker.names import ProjectName
from broker.schema_catalog import Schema, SchemaCatalog, read_reference
from broker.schemas import SchemaType, check_messages, compile_schema
from gateway.ams import errors, wire
from gateway.ams.requests import Request
from gateway.ams.table import Row

VALIDATED = orjson.dumps({"message": "Message validated successfully"})


class UnknownSchemaType(InvalidRequest):
    sentence = "Schema type can only be 'json' or 'avro'"


async def create(request: Request) -> bytes:
    """The body is `{"type", "schema"}`."""
    try:
        document = wire.read_object(request.body)
        word, schema = wire.text_of(document, "type"), _object_of(document, "schema")
    except InvalidRequest:
        raise errors.invalid_arguments("Schema") from None
    if schema is None:
        raise errors.invalid_arguments("Schema")
    try:
        made = await _catalog(request).create(request.project, _name(request), _type(word or ""), schema)
    except AlreadyExists:
        raise errors.already_exists("Schema") from None
    return orjson.dumps(schema_document(made))


async def show(request: Request) -> bytes:
    return orjson.dumps(schema_document(await _catalog(request).schema(request.project, _name(request))))


async def index(request: Request) -> bytes:
    found = await _catalog(request).schemas(request.project)
    return orjson.dumps({"schemas": [schema_document(schema) for schema in found]})


async def update(request: Request) -> bytes:
    """The body is `{"name"?, "type"?, "schema"?}`; the name is a reference."""
    await _catalog(request).schema(request.project, _name(request))
    try:
        document = wire.read_object(request.body)
        word, reference = wire.text_of(document, "type"), wire.text_of(document, "name")
        schema = _object_of(document, "schema")
    except InvalidRequest:
        raise errors.invalid_arguments("Schema") from None
    try:
        changed = await _catalog(request).update(
            request.project,
            _name(request),
            new_name=_new_name(reference, request.project) if reference else None,
            kind=_type(word) if word else None,
            document=schema,
        )
    except AlreadyExists:
        raise errors.already_exists("Schema") from None
    return orjson.dumps(schema_document(changed))


async def delete(request: Request) -> bytes:
    await _catalog(request).delete(request.project, _name(request))
    return b""


async def validate(request: Request) -> bytes:
    """The body is the JSON document itself, or `{"data"}` with Avro in base64."""
    schema = await _catalog(request).schema(request.project, _name(request))
    message = Message(Kind.JSON, request.body)
    if schema.kind is SchemaType.AVRO:
        try:
            data = wire.text_of(wire.read_object(request.body), "data")
        except InvalidRequest:
            raise errors.invalid_body() from None
        if data is None:
            raise errors.invalid_arguments("Schema Payload")
        message = wire.message_of(data)
    check_messages(compile_schema(schema.kind, schema.document), [message])
    return VALIDATED


async def attach(request: Request) -> bytes:
    """The body is `{"schema"}`, a reference."""
    await request.catalog.topic(request.target.topic)
    reference = read_topic_body(request.body)
    await _catalog(request).attach(request.target.topic, read_reference(reference, request.project))
    return b""


async def detach(request: Request) -> bytes:
    await request.catalog.topic(request.target.topic)
    await _catalog(request).detach(request.target.topic)
    return b""


def read_topic_body(body: bytes) -> str:
    """Return the reference in `{"schema"}`, empty where there is none. Raises `ArgoRefusal`."""
    try:
        return wire.text_of(wire.read_object(body), "schema") or ""
    except InvalidRequest:
        raise errors.invalid_body() from None


def schema_document(schema: Schema) -> dict[str, object]:
    name = wire.schema_reference(schema.project, schema.name)
    return {"uuid": schema.uuid, "name": name, "type": schema.kind, "schema": schema.document}


def _catalog(request: Request) -> SchemaCatalog:
    return request.context.schemas


def _name(request: Request) -> str:
    return request.target.names["schema"]


def _type(word: str) -> SchemaType:
    try:
        return SchemaType(word.lower())
    except ValueError:
        raise UnknownSchemaType from None


def _new_name(reference: str, project: ProjectName) -> str:
    try:
        return read_reference(reference, project)
    except UnknownSchema:
        # A schema stays in its project.
        raise InvalidRequest("wrong schema name declaration") from None


def _object_of(document: Mapping[str, object], name: str) -> Mapping[str, object] | None:
    value = wire.field_of(document, name)
    if value is not None and not isinstance(value, dict):
        raise InvalidRequest(f"{name} is not an object.")
    return value


SCHEMA = "/projects/{project}/schemas/{schema}"
TOPIC = "/projects/{project}/topics/{topic}"

ROUTES = (
    Row("GET", "/projects/{project}/schemas", "schemas:list", index),
    Row("POST", SCHEMA, "schemas:create", create),
    Row("GET", SCHEMA, "schemas:show", show),
    Row("PUT", SCHEMA, "schemas:update", update),
    Row("DELETE", SCHEMA, "schemas:delete", delete),
    Row("POST", f"{SCHEMA}:validate", "schemas:validate", validate),
    Row("POST", f"{TOPIC}:attachSchema", "topics:attachSchema", attach),
    Row("POST", f"{TOPIC}:detachSchema", "topics:detachSchema", detach),
)
