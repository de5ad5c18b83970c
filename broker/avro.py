"""Avro: is this schema one, and are these bytes one value of it? Pure, and bounded whatever schema and bytes say.

Written here because a reader that decodes into objects trusts its input: a chain of 10^6 nested records overflows the
stack of the C readers and takes the process with it (seen), and an array of nulls costs as much as its count says.
This one only walks: depth, steps and bytes are bounded, and nothing is built. The forms are those of the specification
1.11; logical types count as what they are stored as.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from broker.errors import InvalidSchema
from broker.names import shown

MAX_SCHEMA_DEPTH = 64
"""Nested types in a schema, and nested values in a message."""

MAX_STEPS = 1_000_000
"""Values in one message: a bound on the time, about a second at worst."""

MAX_LONG_BYTES = 10
"""A 64-bit integer as a varint."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


class NotAvro(Exception):
    """The bytes are no value of the schema. The text says why."""


@dataclass(slots=True)
class _Cursor:
    data: bytes
    at: int = 0
    depth: int = 0
    steps: int = 0

    def skip(self, size: int) -> int:
        """Move over `size` bytes and return where they begin."""
        begin = self.at
        if size < 0 or begin + size > len(self.data):
            raise NotAvro("the data ends too early" if size >= 0 else "a length is negative")
        self.at = begin + size
        return begin

    def step(self, count: int = 1) -> None:
        self.steps += count
        if self.steps > MAX_STEPS:
            raise NotAvro("it has too many values")

    def long(self) -> int:
        value = shift = 0
        for _ in range(MAX_LONG_BYTES):
            byte = self.data[self.skip(1)]
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                if value >> 64:
                    break
                return (value >> 1) ^ -(value & 1)
            shift += 7
        raise NotAvro("an integer is too long")


Walk = Callable[[_Cursor], None]
"""Moves over one value, or raises `NotAvro`."""


def _null(cursor: _Cursor) -> None:
    return


def _boolean(cursor: _Cursor) -> None:
    if cursor.data[cursor.skip(1)] > 1:
        raise NotAvro("a boolean is neither 0 nor 1")


def _int(cursor: _Cursor) -> None:
    if not -(2**31) <= cursor.long() < 2**31:
        raise NotAvro("an int has more than 32 bits")


def _long(cursor: _Cursor) -> None:
    cursor.long()


def _float(cursor: _Cursor) -> None:
    cursor.skip(4)


def _double(cursor: _Cursor) -> None:
    cursor.skip(8)


def _bytes(cursor: _Cursor) -> None:
    cursor.skip(cursor.long())


def _string(cursor: _Cursor) -> None:
    begin = cursor.skip(cursor.long())
    try:
        cursor.data[begin : cursor.at].decode()
    except UnicodeDecodeError:
        raise NotAvro("a string is not UTF-8") from None


PRIMITIVES: Mapping[str, Walk] = {
    "null": _null,
    "boolean": _boolean,
    "int": _int,
    "long": _long,
    "float": _float,
    "double": _double,
    "bytes": _bytes,
    "string": _string,
}


def check_avro(walk: Walk, data: bytes) -> None:
    """Raise `NotAvro` unless `data` is exactly one value."""
    cursor = _Cursor(data)
    walk(cursor)
    if cursor.at != len(data):
        raise NotAvro(f"{len(data) - cursor.at} bytes are left behind the value")


def compile_avro(schema: object) -> Walk:
    """Return the walk over values of `schema`, parsed JSON. Raises `InvalidSchema`."""
    return _Compiler().type_of(schema, namespace="", depth=0)


@dataclass(slots=True)
class _Compiler:
    named: dict[str, "_Named"] = field(default_factory=dict)

    def type_of(self, schema: object, *, namespace: str, depth: int) -> Walk:
        if depth > MAX_SCHEMA_DEPTH:
            raise InvalidSchema(f"The types are nested deeper than {MAX_SCHEMA_DEPTH}.")
        if isinstance(schema, str):
            return self._reference(schema, namespace)
        if isinstance(schema, list):
            return self._union(schema, namespace, depth)
        if not isinstance(schema, dict):
            raise InvalidSchema("A type is a name, an object or a list.")
        match schema.get("type"):
            case "record" | "error":
                return self._record(schema, namespace, depth)
            case "enum":
                return self._enum(schema, namespace)
            case "fixed":
                return self._fixed(schema, namespace)
            case "array":
                return _blocks(self._part(schema, "items", namespace, depth), _null)
            case "map":
                return _blocks(self._part(schema, "values", namespace, depth), _string)
            case None:
                raise InvalidSchema("A type object has no type.")
            case inner:
                return self.type_of(inner, namespace=namespace, depth=depth + 1)

    def _part(self, schema: Mapping[str, object], name: str, namespace: str, depth: int) -> Walk:
        if name not in schema:
            raise InvalidSchema(f"The type {schema['type']} has no {name}.")
        return self.type_of(schema[name], namespace=namespace, depth=depth + 1)

    def _reference(self, name: str, namespace: str) -> Walk:
        if name in PRIMITIVES:
            return PRIMITIVES[name]
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        found = self.named.get(full) or self.named.get(name)
        if found is None:
            raise InvalidSchema(f"The type {shown(name)} is not known.")
        return found

    def _union(self, schemas: Sequence[object], namespace: str, depth: int) -> Walk:
        if not schemas or any(isinstance(branch, list) for branch in schemas):
            raise InvalidSchema("A union has branches, none of which is a union.")
        walks = [self.type_of(branch, namespace=namespace, depth=depth + 1) for branch in schemas]
        if len({_branch_key(branch, walk) for branch, walk in zip(schemas, walks, strict=True)}) < len(walks):
            raise InvalidSchema("A union has a type twice.")

        def union(cursor: _Cursor) -> None:
            branch = cursor.long()
            if not 0 <= branch < len(walks):
                raise NotAvro("a union's branch does not exist")
            walks[branch](cursor)

        return union

    def _record(self, schema: Mapping[str, object], namespace: str, depth: int) -> Walk:
        named, inner = self._define(schema, namespace)
        fields = schema.get("fields")
        if not isinstance(fields, list):
            raise InvalidSchema(f"The record {shown(named.name)} has no list of fields.")
        names: set[str] = set()
        walks = []
        for each in fields:
            name = each.get("name") if isinstance(each, dict) else None
            if not isinstance(name, str) or not _NAME.fullmatch(name) or "." in name or name in names:
                raise InvalidSchema(f"A field of {shown(named.name)} has no name, or a bad one, or that of another.")
            names.add(name)
            if "type" not in each:
                raise InvalidSchema(f"The field {shown(name)} has no type.")
            walks.append(self.type_of(each["type"], namespace=inner, depth=depth + 1))
        named.walk = _sequence(walks)
        return named

    def _enum(self, schema: Mapping[str, object], namespace: str) -> Walk:
        named, _ = self._define(schema, namespace)
        symbols = schema.get("symbols")
        if not isinstance(symbols, list) or not symbols or not all(isinstance(each, str) for each in symbols):
            raise InvalidSchema(f"The enum {shown(named.name)} has no symbols.")
        if len(set(symbols)) < len(symbols) or not all(_NAME.fullmatch(each) for each in symbols):
            raise InvalidSchema(f"The enum {shown(named.name)} has a bad symbol, or one twice.")

        def enum(cursor: _Cursor) -> None:
            if not 0 <= cursor.long() < len(symbols):
                raise NotAvro("an enum's symbol does not exist")

        named.walk = enum
        return named

    def _fixed(self, schema: Mapping[str, object], namespace: str) -> Walk:
        named, _ = self._define(schema, namespace)
        size = schema.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise InvalidSchema(f"The fixed {shown(named.name)} has no size.")

        def fixed(cursor: _Cursor) -> None:
            cursor.skip(size)

        named.walk = fixed
        return named

    def _define(self, schema: Mapping[str, object], namespace: str) -> tuple["_Named", str]:
        """Return the new named type, and the namespace of what is defined inside it."""
        name, given = schema.get("name"), schema.get("namespace", namespace)
        if not isinstance(name, str) or not isinstance(given, str):
            raise InvalidSchema(f"The {schema['type']} has no name.")
        full = name if "." in name or not given else f"{given}.{name}"
        if not _NAME.fullmatch(full) or full in PRIMITIVES:
            raise InvalidSchema(f"The name {shown(full)} is not valid.")
        if full in self.named:
            raise InvalidSchema(f"The name {shown(full)} is defined twice.")
        named = self.named[full] = _Named(full)
        return named, full.rpartition(".")[0]


@dataclass(slots=True, eq=False)
class _Named:
    """A named type, which may hold itself: the depth of its values is what must be counted."""

    name: str
    walk: Walk = _null

    def __call__(self, cursor: _Cursor) -> None:
        cursor.step()
        cursor.depth += 1
        if cursor.depth > MAX_SCHEMA_DEPTH:
            raise NotAvro(f"values are nested deeper than {MAX_SCHEMA_DEPTH}")
        self.walk(cursor)
        cursor.depth -= 1


def _branch_key(branch: object, walk: Walk) -> object:
    """Two branches of a union may not be of one unnamed type."""
    if isinstance(walk, _Named):
        return walk.name
    kind = branch.get("type") if isinstance(branch, dict) else branch
    return kind if isinstance(kind, str) else id(branch)


def _sequence(walks: Sequence[Walk]) -> Walk:
    def sequence(cursor: _Cursor) -> None:
        cursor.step(len(walks))
        for walk in walks:
            walk(cursor)

    return sequence


def _blocks(item: Walk, key: Walk) -> Walk:
    """Arrays and maps: blocks of a count and as many items, the last one empty; a negative count has a size with it."""

    def blocks(cursor: _Cursor) -> None:
        while count := cursor.long():
            if count < 0:
                count = -count
                cursor.long()
            for _ in range(count):
                cursor.step()
                key(cursor)
                item(cursor)

    return blocks
