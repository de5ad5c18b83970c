"""Models: draft 4 schemas, and what their messages must be."""

import pytest

from gateway.apigateway.application.models import DRAFT_4, read_model

SEND = {
    "type": "object",
    "properties": {"action": {"type": "string"}, "size": {"type": "integer", "minimum": 0, "exclusiveMinimum": True}},
    "required": ["action"],
}


def test_a_model_is_of_draft_4_unless_it_says_otherwise() -> None:
    model = read_model(SEND)
    assert model.schema["$schema"] == DRAFT_4
    # In later drafts exclusiveMinimum is a number.
    assert not model.allows('{"action": "send", "size": 0}')
    assert model.allows('{"action": "send", "size": 1}')
    later = read_model({"$schema": "http://json-schema.org/draft-07/schema#", "exclusiveMinimum": 0})
    assert not later.allows("0")


@pytest.mark.parametrize(
    ("body", "allowed"),
    [('{"action": "send"}', True), ("{}", False), ("[]", False), ("no JSON", False), ("", False), ("\ud800", False)],
)
def test_messages(body: str, allowed: bool) -> None:
    assert read_model(SEND).allows(body) is allowed


def test_a_model_may_be_json() -> None:
    assert read_model('{"type": "array"}').allows("[]")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("{", "must be JSON"),
        ([], "must be a JSON schema"),
        ("[]", "must be a JSON schema"),
        ({"type": "objekt"}, "objekt"),
        ({"$ref": "http://example.com/schema"}, "reference may only lead into the schema"),
    ],
)
def test_models_that_are_refused(given: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_model(given)


def test_a_message_that_would_cost_too_much_is_refused() -> None:
    many = read_model({"items": {"anyOf": [{"const": number} for number in range(3000)]}})
    assert not many.allows("[" + "0," * 20_000 + "0]")
