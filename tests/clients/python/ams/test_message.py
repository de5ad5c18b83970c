"""Messages: what is sent for what is given, and back."""

import json
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ams import AmsMessage, AmsMessageException


@given(st.binary(min_size=1), st.dictionaries(st.text(), st.text()))
def test_bytes_and_attributes_come_back(data: bytes, attributes: dict[str, str]) -> None:
    sent = json.loads(AmsMessage(data=data, attributes=attributes).json())
    read = AmsMessage.pulled(sent)
    assert read.get_data() == data
    assert read.get_attr() == attributes
    assert b64decode(sent["data"], validate=True) == data


@pytest.mark.parametrize(
    ("given_data", "b64enc", "sent"),
    [("é", True, "w6k="), (b"\xff", True, "/w=="), ("any text", False, "any text"), (b"YQ==", False, "YQ==")],
)
def test_data_is_encoded_unless_it_is_already(given_data: str | bytes, b64enc: bool, sent: str) -> None:
    assert AmsMessage(data=given_data, b64enc=b64enc).dict() == {"data": sent}


def test_a_message_without_data_and_attributes_is_refused_when_used() -> None:
    empty = AmsMessage()
    for use in (empty.dict, empty.json, empty.get_data, empty.get_attr, empty.__str__):
        with pytest.raises(AmsMessageException, match="data or at least one attribute"):
            use()


def test_attributes_alone_are_a_message_without_data() -> None:
    message = AmsMessage(attributes={"a": "1"})
    assert message.dict() == {"attributes": {"a": "1"}}
    with pytest.raises(AmsMessageException, match="no data"):
        message.get_data()


@pytest.mark.parametrize("data", [5, {"a": 1}, ["x"]])
@pytest.mark.parametrize("b64enc", [True, False])
def test_what_is_neither_text_nor_bytes_is_refused(data: object, b64enc: bool) -> None:
    with pytest.raises(AmsMessageException, match="text or bytes"):
        AmsMessage(data=data, b64enc=b64enc)  # type: ignore[arg-type]


def test_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(AmsMessageException):
        AmsMessage(data="\ud800")
    with pytest.raises(AmsMessageException):
        AmsMessage(data=b"\xff", b64enc=False)


def test_an_attribute_can_be_set_on_a_message_that_had_none() -> None:
    message = AmsMessage(data="x")
    assert message.get_attr() == {}
    message.set_attr("k", "v")
    assert message.get_attr() == {"k": "v"}


def test_the_callers_attributes_are_copied() -> None:
    mine = {"a": "1"}
    AmsMessage(data="x", attributes=mine).set_attr("b", "2")
    assert mine == {"a": "1"}


def test_empty_data_leaves_what_was_there() -> None:
    message = AmsMessage(data="x")
    message.set_data("")
    message.set_data(None)
    assert message.get_data() == b"x"


def test_a_template_keeps_what_a_call_does_not_name_and_forgets_the_identity() -> None:
    message = AmsMessage(data="x", attributes={"a": "1"}, messageId="7", publishTime="then")
    assert message(attributes={"b": "2"}) == {"data": "eA==", "attributes": {"b": "2"}}
    assert message(data="y") == {"data": "eQ==", "attributes": {"b": "2"}}
    assert (message.get_msgid(), message.get_publishtime()) == ("", "")


def test_a_pulled_message_may_have_keys_of_a_later_version() -> None:
    document = {"messageId": "3", "data": "eA==", "publishTime": "2026-01-01T00:00:00Z", "later": True}
    message = AmsMessage.pulled(document)
    assert (message.get_msgid(), message.get_publishtime(), message.get_data()) == ("3", "2026-01-01T00:00:00Z", b"x")
    assert message.dict() == {"messageId": "3", "data": "eA==", "publishTime": "2026-01-01T00:00:00Z"}
