"""Avro against the reference implementation: what it writes is valid, and nothing that it cannot read is."""

import io

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.avro import MAX_SCHEMA_DEPTH, MAX_STEPS, NotAvro, check_avro, compile_avro
from broker.errors import InvalidSchema

USER = {
    "type": "record",
    "name": "User",
    "namespace": "org.example",
    "fields": [
        {"name": "name", "type": "string"},
        {"name": "age", "type": ["null", "int"], "default": None},
        {"name": "weight", "type": "double"},
        {"name": "ratio", "type": "float"},
        {"name": "big", "type": "long"},
        {"name": "raw", "type": "bytes"},
        {"name": "ok", "type": "boolean"},
        {"name": "colour", "type": {"type": "enum", "name": "Colour", "symbols": ["RED", "BLUE"]}},
        {"name": "second", "type": "Colour"},
        {"name": "digest", "type": {"type": "fixed", "name": "Digest", "size": 4}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "counts", "type": {"type": "map", "values": "long"}},
        {"name": "when", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "friend", "type": ["null", "org.example.User"]},
    ],
}

users = st.deferred(
    lambda: st.fixed_dictionaries(
        {
            "name": st.text(),
            "age": st.none() | st.integers(-(2**31), 2**31 - 1),
            "weight": st.floats(allow_nan=False),
            "ratio": st.floats(width=32, allow_nan=False),
            "big": st.integers(-(2**63), 2**63 - 1),
            "raw": st.binary(),
            "ok": st.booleans(),
            "colour": st.sampled_from(["RED", "BLUE"]),
            "second": st.sampled_from(["RED", "BLUE"]),
            "digest": st.binary(min_size=4, max_size=4),
            "tags": st.lists(st.text(), max_size=5),
            "counts": st.dictionaries(st.text(), st.integers(-(2**63), 2**63 - 1), max_size=5),
            "when": st.integers(0, 2**40),
            "friend": st.none() | users,
        }
    )
)


def written(schema: object, value: object) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)  # type: ignore[arg-type]
    return out.getvalue()


@given(users)
def test_what_the_reference_writes_is_valid_and_nothing_shorter_or_longer(user: object) -> None:
    walk = compile_avro(USER)
    data = written(USER, user)
    check_avro(walk, data)
    for hostile in (data[:-1], data[: len(data) // 2], data + b"\0"):
        with pytest.raises(NotAvro):
            check_avro(walk, hostile)


@given(st.binary(max_size=60))
def test_noise_that_the_reference_cannot_read_is_not_valid(noise: bytes) -> None:
    schema = {
        "type": "record",
        "name": "R",
        "fields": [
            {"name": "a", "type": ["null", "string", {"type": "array", "items": "int"}]},
            {"name": "b", "type": {"type": "enum", "name": "E", "symbols": ["X", "Y"]}},
            {"name": "c", "type": "boolean"},
        ],
    }
    try:
        check_avro(compile_avro(schema), noise)
    except NotAvro:
        return
    source = io.BytesIO(noise)
    fastavro.schemaless_reader(source, fastavro.parse_schema(schema))  # type: ignore[call-arg]
    assert source.read() == b""


VALUES = [
    ("null", b"", True),
    ("null", b"\0", False),
    ("boolean", b"\1", True),
    ("boolean", b"\2", False),
    ("int", b"\xfe\xff\xff\xff\x0f", True),
    ("int", b"\x80\x80\x80\x80\x10", False),
    ("long", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", True),
    ("long", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", False),
    ("long", b"\x80" * 10 + b"\1", False),
    ("long", b"\x80", False),
    ("float", b"\0" * 4, True),
    ("double", b"\0" * 4, False),
    ("bytes", b"\2\xff", True),
    ("bytes", b"\1", False),
    ("string", b"\2\xff", False),
    ("string", b"\2a", True),
    ("string", b"\4a", False),
    (["null", "int"], b"\4", False),
    (["null", "int"], b"\1", False),
    ({"type": "enum", "name": "e", "symbols": ["a"]}, b"\2", False),
    ({"type": "enum", "name": "e", "symbols": ["a"]}, b"\1", False),
    ({"type": "fixed", "name": "f", "size": 2}, b"ab", True),
    ({"type": "fixed", "name": "f", "size": 2}, b"a", False),
    ({"type": "array", "items": "int"}, b"\3\4\2\4\0", True),
    ({"type": "array", "items": "int"}, b"\4\2\4", False),
    ({"type": "map", "values": "int"}, b"\2\2a\2\0", True),
    ({"type": "map", "values": "int"}, b"\2\2\xff\2\0", False),
    ({"type": {"type": "string"}}, b"\2a", True),
]


@pytest.mark.parametrize(("schema", "data", "valid"), VALUES)
def test_values(schema: object, data: bytes, valid: bool) -> None:
    walk = compile_avro(schema)
    if valid:
        check_avro(walk, data)
        return
    with pytest.raises(NotAvro):
        check_avro(walk, data)


CHAIN = {"type": "record", "name": "N", "fields": [{"name": "next", "type": ["null", "N"]}]}
ENDLESS = {"type": "record", "name": "N", "fields": [{"name": "next", "type": "N"}]}
NULLS = {"type": "array", "items": "null"}


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        (CHAIN, b"\2" * 1_000_000 + b"\0"),
        (ENDLESS, b""),
        (NULLS, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        ({"type": "array", "items": CHAIN}, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01" + b"\0" * 10),
    ],
)
def test_hostile_data_costs_a_bounded_time_and_no_stack(schema: object, data: bytes) -> None:
    with pytest.raises(NotAvro):
        check_avro(compile_avro(schema), data)


def test_records_that_hold_nothing_are_counted_too() -> None:
    fields = [{"name": f"f{n}", "type": "null"} for n in range(1000)]
    walk = compile_avro({"type": "array", "items": {"type": "record", "name": "R", "fields": fields}})
    count = MAX_STEPS // 1000
    zigzag = count * 2
    varint = bytes([zigzag & 0x7F | 0x80, zigzag >> 7])
    with pytest.raises(NotAvro, match="too many values"):
        check_avro(walk, varint + b"\0")


BAD_SCHEMAS = [
    None,
    5,
    {},
    [],
    "x",
    {"type": "x"},
    {"type": 5},
    ["int", ["int"]],
    ["int", "int"],
    [{"type": "array", "items": "int"}, {"type": "array", "items": "string"}],
    {"type": "array"},
    {"type": "map"},
    {"type": "record"},
    {"type": "record", "name": "a b", "fields": []},
    {"type": "record", "name": "a", "namespace": 5, "fields": []},
    {"type": "record", "name": "int", "fields": []},
    {"type": "record", "name": "a"},
    {"type": "record", "name": "a", "fields": 5},
    {"type": "record", "name": "a", "fields": [5]},
    {"type": "record", "name": "a", "fields": [{"name": "b"}]},
    {"type": "record", "name": "a", "fields": [{"type": "int"}]},
    {"type": "record", "name": "a", "fields": [{"name": "b.c", "type": "int"}]},
    {"type": "record", "name": "a", "fields": [{"name": "b", "type": "int"}, {"name": "b", "type": "int"}]},
    {"type": "record", "name": "a", "fields": [{"name": "b", "type": {"type": "fixed", "name": "a", "size": 1}}]},
    {"type": "enum", "name": "e"},
    {"type": "enum", "name": "e", "symbols": []},
    {"type": "enum", "name": "e", "symbols": ["a", "a"]},
    {"type": "enum", "name": "e", "symbols": [5]},
    {"type": "enum", "name": "e", "symbols": ["a b"]},
    {"type": "fixed", "name": "f"},
    {"type": "fixed", "name": "f", "size": -1},
    {"type": "fixed", "name": "f", "size": True},
]


@pytest.mark.parametrize("schema", BAD_SCHEMAS)
def test_what_is_no_schema_is_refused(schema: object) -> None:
    with pytest.raises(InvalidSchema):
        compile_avro(schema)


def test_a_schema_that_is_nested_too_deeply_is_refused() -> None:
    schema: object = "int"
    for _ in range(MAX_SCHEMA_DEPTH + 1):
        schema = {"type": "array", "items": schema}
    with pytest.raises(InvalidSchema, match="deeper"):
        compile_avro(schema)


def test_a_name_is_found_in_its_namespace_and_as_written() -> None:
    schema = {
        "type": "record",
        "name": "A",
        "namespace": "x.y",
        "fields": [
            {"name": "b", "type": {"type": "fixed", "name": "z.B", "size": 1}},
            {"name": "c", "type": {"type": "fixed", "name": "C", "size": 1}},
            {"name": "d", "type": "z.B"},
            {"name": "e", "type": "C"},
            {"name": "f", "type": "x.y.C"},
            {"name": "g", "type": ["z.B", "C"]},
        ],
    }
    check_avro(compile_avro(schema), b"bcdef\2g")
