"""What a schema lets through, with ARGO's texts for what it does not; and that neither side can make it costly."""

import base64
import io
import json
import socket

import fastavro
import pytest

from broker.errors import InvalidSchema
from broker.messages import Kind, Message
from broker.schemas import (
    MAX_PLACES,
    MAX_REASON_CHARS,
    MAX_REASONS,
    MAX_SCHEMA_BYTES,
    SchemaType,
    SchemaViolation,
    check_messages,
    compile_schema,
)

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "email": {"type": "string"}, "tags": {"items": {"type": "string"}}},
    "required": ["name", "email"],
}

EVENT = {
    "type": "record",
    "name": "Event",
    "fields": [{"name": "id", "type": "long"}, {"name": "what", "type": "string"}],
}


def text(payload: object) -> Message:
    return Message(Kind.JSON, payload if isinstance(payload, bytes) else json.dumps(payload).encode())


def verbatim(data: str) -> Message:
    return Message(Kind.TEXT, data.encode(), verbatim=True)


def event(**fields: object) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(EVENT), fields)
    return out.getvalue()


def complaint(document: dict[str, object], message: Message, kind: SchemaType = SchemaType.JSON) -> str | None:
    return compile_schema(kind, document)(message)


def test_a_valid_document_passes_whatever_kind_it_was_published_as() -> None:
    document = json.dumps({"name": "a", "email": "b"}).encode()
    for kind in Kind:
        assert complaint(PERSON, Message(kind, document)) is None
    # Go's decoder takes line breaks within base64; what is stored is what was sent.
    assert complaint(PERSON, verbatim(base64.encodebytes(document).decode())) is None


def test_one_violation() -> None:
    assert complaint(PERSON, text({"name": "a"})) == 'data is not valid,(root): "email" is a required property'
    found = complaint(PERSON, text({"name": "a", "email": "b", "tags": ["x", 5]}))
    assert found == 'data is not valid,tags.1: 5 is not of type "string"'


def test_several_violations_are_numbered() -> None:
    found = complaint(PERSON, text({"name": 5}))
    assert found is not None
    assert found.startswith("data is not valid.1)")
    assert found.endswith(".")
    assert "2)" in found
    assert '(root): "email" is a required property' in found
    assert 'name: 5 is not of type "string"' in found


@pytest.mark.parametrize("payload", [b"", b"{", b"x", b'{"a":\xff}', b"NaN", b"[" * 5000])
def test_what_is_no_json(payload: bytes) -> None:
    found = complaint(PERSON, text(payload))
    assert found is not None
    assert found.startswith("data is not valid JSON format,")


@pytest.mark.parametrize("data", ["msg 1", "YQ=", "*", "YQ==YQ=="])
@pytest.mark.parametrize("kind", SchemaType)
def test_what_is_no_base64(kind: SchemaType, data: str) -> None:
    found = complaint(PERSON if kind is SchemaType.JSON else EVENT, verbatim(data), kind)
    assert found is not None
    assert found.startswith("is not in valid base64 enocding,")


def test_avro() -> None:
    assert complaint(EVENT, Message(Kind.BINARY, event(id=1, what="x")), SchemaType.AVRO) is None
    found = complaint(EVENT, Message(Kind.BINARY, b"\2"), SchemaType.AVRO)
    assert found == "is not valid.the data ends too early"


def test_the_first_bad_message_is_named_by_its_index() -> None:
    check = compile_schema(SchemaType.JSON, PERSON)
    good, bad = text({"name": "a", "email": "b"}), text({"name": "a"})
    check_messages(check, [good, good])
    with pytest.raises(SchemaViolation, match=r"^Message 1 data is not valid,\(root\)"):
        check_messages(check, [good, bad, bad])


BAD_SCHEMAS = [
    {"type": "objec"},
    {"required": "x"},
    {"$ref": "#/nowhere"},
    {"$ref": "http://127.0.0.1:1/x"},
    {"$ref": "file:///etc/passwd"},
    {"$schema": "http://127.0.0.1:1/x"},
    {"$ref": "other.json"},
    {"$ref": "#anchor"},
    {"properties": {"a": {"$id": "http://example.org/", "$ref": "#/x"}}},
    {"$schema": "http://json-schema.org/draft-04/schema#", "properties": {"a": {"id": "http://x/", "$ref": "#/x"}}},
    {"pattern": "(?=a)b"},
    {"pattern": "(((a{100}){100}){100}){100}"},
    {"pattern": "["},
]


@pytest.mark.parametrize("document", BAD_SCHEMAS)
def test_what_is_no_schema_is_refused_with_a_reason(document: dict[str, object]) -> None:
    with pytest.raises(InvalidSchema) as refusal:
        compile_schema(SchemaType.JSON, document)
    assert 0 < len(refusal.value.reason) <= MAX_REASON_CHARS + 1
    assert "\n" not in refusal.value.reason


def test_nothing_is_fetched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/schema"
        server.settimeout(0)
        for document in ({"$schema": url}, {"$ref": url}, {"$id": url, "$ref": "other"}):
            with pytest.raises(InvalidSchema):
                compile_schema(SchemaType.JSON, document)
            with pytest.raises(BlockingIOError):
                server.accept()


def test_an_avro_schema_is_checked_too() -> None:
    with pytest.raises(InvalidSchema):
        compile_schema(SchemaType.AVRO, {"type": "record"})


def test_a_schema_may_not_be_too_large() -> None:
    with pytest.raises(InvalidSchema, match="bytes"):
        compile_schema(SchemaType.JSON, {"description": "x" * MAX_SCHEMA_BYTES})


def doubling(steps: int) -> dict[str, object]:
    definitions: dict[str, object] = {"a0": {"type": "string"}}
    for step in range(1, steps + 1):
        below = {"$ref": f"#/definitions/a{step - 1}"}
        definitions[f"a{step}"] = {"allOf": [below, below]}
    return {"definitions": definitions, "$ref": f"#/definitions/a{steps}"}


def mutual(count: int) -> dict[str, object]:
    every = [{"$ref": f"#/definitions/a{other}"} for other in range(count)]
    return {"definitions": {f"a{number}": {"anyOf": every} for number in range(count)}}


def nested(depth: int) -> dict[str, object]:
    document: dict[str, object] = {}
    for _ in range(depth):
        document = {"not": document}
    return document


@pytest.mark.parametrize(
    "document", [doubling(40), mutual(40), nested(150), nested(500), {"properties": {"enum": nested(150)}}]
)
def test_references_that_multiply_are_refused(document: dict[str, object]) -> None:
    with pytest.raises(InvalidSchema, match="too large"):
        compile_schema(SchemaType.JSON, document)


def test_a_schema_that_holds_itself_is_served() -> None:
    tree = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}
    assert complaint(tree, text({"children": [{"children": []}]})) is None
    assert complaint(tree, text({"children": [{"children": 5}]})) is not None
    for circle in ({"$ref": "#"}, {"allOf": [{"$ref": "#"}]}):
        assert complaint(circle, text(1)) is None


def test_a_slow_pattern_is_not_slow() -> None:
    assert complaint({"pattern": "^(a+)+$"}, text("a" * 50_000 + "b")) is not None


def test_a_message_with_too_many_values_for_its_schema_is_refused() -> None:
    wide = {"items": {"anyOf": [{"const": number} for number in range(MAX_PLACES // 4)]}}
    found = complaint(wide, text(b"[" + b"0," * 20_000 + b"0]"))
    assert found == "data is not valid,it is too large for this schema"


def test_reasons_are_few_and_short_however_much_is_wrong() -> None:
    strings = {"items": {"type": "string"}}
    found = complaint(strings, text([0] * 1000))
    assert found is not None
    assert f"{MAX_REASONS})" in found
    assert f"{MAX_REASONS + 1})" not in found
    many = complaint(strings, text([0] * 500_000))
    assert many is not None
    assert many.startswith("data is not valid,")
    assert len(complaint({"type": "integer"}, text("x" * 100_000)) or "") < 2 * MAX_REASON_CHARS
