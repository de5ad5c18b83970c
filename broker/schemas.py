"""Schemas: what a topic's messages must look like, JSON Schema or Avro (contract ams.md 4.12). Pure.

Schemas and messages come from tenants and are checked on the loop that serves everybody. So nothing is fetched,
patterns take linear time, and the work is bounded by the number of places in the schema, expanded along its references,
times the number of values in the message.
"""

import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from urllib.parse import unquote

import jsonschema_rs
import orjson

from broker.avro import NotAvro, check_avro, compile_avro
from broker.errors import InvalidMessage, InvalidSchema
from broker.messages import Message

MAX_SCHEMA_BYTES = 256 * 1024

MAX_PLACES = 10_000
"""Subschemas of one schema with every reference followed: chains of references can double at each step."""

MAX_DEPTH = 100
"""Subschemas within subschemas, references followed."""

MAX_STEPS = 20_000_000
"""Places of the schema times values in the message: about a second at worst."""

MAX_STEPS_TO_EXPLAIN = 1_000_000
"""Above it only the first violation is told."""

MAX_REASONS = 10
MAX_REASON_CHARS = 300

PATTERNS = jsonschema_rs.RegexOptions(size_limit=1_000_000, dfa_size_limit=10_000_000)


class SchemaType(StrEnum):
    JSON = "json"
    AVRO = "avro"


class SchemaViolation(InvalidMessage):
    """A message that its topic's schema does not allow. The reason is ARGO's text, with the message's index."""

    code = "schema_violation"


Check = Callable[[Message], str | None]
"""Returns what ARGO says behind `Message <i> `, None for a message as it should be."""


def compile_schema(kind: SchemaType, document: Mapping[str, object]) -> Check:
    """Return the check that `document` stands for. Raises `InvalidSchema` with the validator's reason."""
    try:
        text = orjson.dumps(document)
    except orjson.JSONEncodeError:
        raise InvalidSchema("The schema is too large, or nested too deeply.") from None
    if len(text) > MAX_SCHEMA_BYTES:
        raise InvalidSchema(f"A schema has at most {MAX_SCHEMA_BYTES} bytes.")
    # A copy in which no two places are one object.
    own = orjson.loads(text)
    return _avro_check(own) if kind is SchemaType.AVRO else _json_check(own)


def check_messages(check: Check, messages: Iterable[Message]) -> None:
    """Raise `SchemaViolation` for the first message that is not as it should be."""
    for index, message in enumerate(messages):
        complaint = check(message)
        if complaint is not None:
            raise SchemaViolation(f"Message {index} {complaint}")


class _NotBase64(Exception):
    pass


def _payload_of(message: Message) -> bytes:
    """Return the payload; of what ARGO keeps verbatim, what Go's decoder would still make of it."""
    if not message.verbatim:
        return message.payload
    try:
        return binascii.a2b_base64(message.payload.translate(None, b"\r\n"), strict_mode=True)
    except ValueError as error:
        raise _NotBase64(f"is not in valid base64 enocding,{error}") from None


def _avro_check(document: Mapping[str, object]) -> Check:
    walk = compile_avro(document)

    def check(message: Message) -> str | None:
        try:
            check_avro(walk, _payload_of(message))
        except _NotBase64 as error:
            return str(error)
        except NotAvro as error:
            return f"is not valid.{error}"
        return None

    return check


def _json_check(document: dict[str, object]) -> Check:
    places = _Places(document).count()
    try:
        validator = jsonschema_rs.validator_for(document, offline=True, pattern_options=PATTERNS)
    except (jsonschema_rs.ValidationError, ValueError) as error:
        raise InvalidSchema(_first_line(error)) from None

    def check(message: Message) -> str | None:
        try:
            payload = _payload_of(message)
            steps = places * _values_at_most(payload)
            if steps > MAX_STEPS:
                return "data is not valid,it is too large for this schema"
            value = orjson.loads(payload)
            if validator.is_valid(value):
                return None
            return _complaint(validator, value, steps)
        except _NotBase64 as error:
            return str(error)
        except orjson.JSONDecodeError as error:
            return f"data is not valid JSON format,{error}"
        except ValueError as error:
            # The validator's own bounds, such as its depth.
            return f"data is not valid,{_cut(str(error))}"

    return check


def _complaint(validator: jsonschema_rs.Validator, value: object, steps: int) -> str:
    if steps > MAX_STEPS_TO_EXPLAIN:
        try:
            validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return f"data is not valid,{_reason(error)}"
    reasons = [_reason(error) for error in islice(validator.iter_errors(value), MAX_REASONS)]
    if len(reasons) == 1:
        return f"data is not valid,{reasons[0]}"
    return "data is not valid." + "".join(f"{number}){reason}." for number, reason in enumerate(reasons, 1))


def _reason(error: jsonschema_rs.ValidationError) -> str:
    where = ".".join(map(str, error.instance_path)) or "(root)"
    return _cut(f"{where}: {error.message}")


def _first_line(error: Exception) -> str:
    return _cut(str(error).partition("\n")[0])


def _cut(text: str) -> str:
    return text if len(text) <= MAX_REASON_CHARS else text[:MAX_REASON_CHARS] + "…"


def _values_at_most(payload: bytes) -> int:
    """Return no less than the number of values and names in a JSON text."""
    return 1 + payload.count(b",") * 2 + (payload.count(b"[") + payload.count(b"{")) * 2


@dataclass(slots=True)
class _Places:
    """Counts the subschemas of a schema as a validator may visit them: once for each way along the references."""

    root: dict[str, object]
    found: int = 0
    open: set[int] = field(default_factory=set)

    @property
    def _ids(self) -> tuple[str, ...]:
        return ("$id", "id") if "draft-04" in str(self.root.get("$schema")) else ("$id",)

    def count(self) -> int:
        self._visit(self.root)
        return self.found

    def _visit(self, node: object) -> None:
        if not isinstance(node, dict | list) or id(node) in self.open:
            return
        self.found += 1
        if self.found > MAX_PLACES or len(self.open) > MAX_DEPTH:
            raise InvalidSchema("The schema is too large, or nested too deeply, with its references followed.")
        self.open.add(id(node))
        for key, inner in node.items() if isinstance(node, dict) else enumerate(node):
            if key in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(inner, str):
                self._visit(self._target(inner))
            elif key in self._ids and isinstance(inner, str) and node is not self.root:
                # References below it would lead elsewhere.
                raise InvalidSchema("A schema within the schema may not have an $id.")
            else:
                self._visit(inner)
        self.open.discard(id(node))

    def _target(self, reference: str) -> object:
        """Return what a reference of the form `#/a/b` leads to; one that leads nowhere is for the validator to say."""
        if reference == "#":
            return self.root
        if not reference.startswith("#/"):
            raise InvalidSchema("A reference may only lead into the schema itself, in the form #/definitions/name.")
        at: object = self.root
        for part in unquote(reference[2:]).split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(at, dict):
                at = at.get(name)
            elif isinstance(at, list) and name.isdecimal() and int(name) < len(at):
                at = at[int(name)]
            else:
                return None
        return at
