"""Models: JSON schemas (draft 4) that the messages of a route must satisfy. Pure.

A message that does not is answered "Bad request body", and its back end is not called (contracts/apigateway 8). The
schema is the operator's, the messages are anybody's: what checking one may cost is bounded as it is for topics.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from broker.errors import InvalidSchema
from broker.messages import Kind, Message
from broker.schemas import Check, SchemaType, compile_schema

DRAFT_4 = "http://json-schema.org/draft-04/schema#"
"""What a model without `$schema` is written in, as at AWS."""


@dataclass(frozen=True, slots=True)
class Model:
    """A schema, ready to check with."""

    schema: Mapping[str, object]
    _check: Check = field(repr=False, compare=False)

    def allows(self, body: str) -> bool:
        """Tell whether a message is JSON that satisfies the schema."""
        return self._check(Message(Kind.TEXT, body.encode(errors="replace"))) is None


def read_model(given: object) -> Model:
    """Read a schema: a table, or JSON in a text. Raises `ValueError` with what is wrong."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            raise ValueError("a model that is a text must be JSON") from None
    if not isinstance(given, Mapping):
        raise ValueError("a model must be a JSON schema: a table, or its JSON in a text")
    schema = {"$schema": DRAFT_4, **given}
    try:
        return Model(schema, compile_schema(SchemaType.JSON, schema))
    except InvalidSchema as error:
        raise ValueError(error.reason) from None
