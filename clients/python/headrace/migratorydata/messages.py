"""`MigratoryDataMessage`, and how one travels: its fields and marks are attributes of a Headrace message. Pure.

Fields become attributes under their own names, so that other faces see them and are seen. What only this API knows
stands under names that begin with `md-`.
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from headrace.messages import Message
from headrace.migratorydata.constants import MessageType, QoS
from headrace.migratorydata.errors import MigratoryDataException
from headrace.migratorydata.naming import with_camel_case
from headrace.migratorydata.subjects import check_subject

MARK = "md-"
REPLY, QUALITY, PLAIN = "md-reply-to", "md-qos", "md-not-retained"

Field = tuple[str, str]


@with_camel_case
class MigratoryDataMessage:
    """A message on a subject. `content` is a string or bytes; `closure` comes back with the publish's status.

    A `retained` message becomes its subject's snapshot. `reply_subject` makes it a request. `fields` (version 5) are
    pairs of strings.
    """

    def __init__(  # noqa: PLR0917 - the API's own order
        self,
        subject: str,
        content: str | bytes,
        closure: str = "",
        qos: QoS | int = QoS.GUARANTEED,
        retained: bool = True,
        reply_subject: str = "",
        *,
        fields: Sequence[Field] | None = (),
    ) -> None:
        self._subject = subject
        self._content = content
        self._closure = closure
        self._qos = qos
        self._retained = retained
        self._reply_subject = reply_subject
        self._fields = tuple(fields or ())
        self._type = MessageType.UPDATE
        self._epoch = 0
        self._seq = 0

    def __repr__(self) -> str:
        return f"<MigratoryDataMessage on {self._subject!r}, {self._type.name}>"

    def get_subject(self) -> str:
        return self._subject

    def get_content(self) -> str | bytes:
        return self._content

    def get_closure(self) -> str:
        return self._closure

    def get_fields(self) -> list[Field]:
        return list(self._fields)

    def get_qos(self) -> QoS:
        return QoS(self._qos)

    def is_retained(self) -> bool:
        return self._retained

    def get_reply_subject(self) -> str:
        return self._reply_subject

    get_reply_to_subject = get_reply_subject
    """Its name in version 5 and in Python's version 6."""

    def get_message_type(self) -> MessageType:
        return self._type

    def is_snapshot(self) -> bool:
        """Version 5's word for a message of type SNAPSHOT."""
        return self._type is MessageType.SNAPSHOT

    def is_recovery(self) -> bool:
        """Version 5's word for a message of type RECOVERED."""
        return self._type is MessageType.RECOVERED

    def is_compressed(self) -> bool:
        """Messages are never compressed here."""
        return False

    def get_seq(self) -> int:
        """The place in its subject within the epoch."""
        return self._seq

    def get_epoch(self) -> int:
        return self._epoch


def check_message(message: object) -> MigratoryDataMessage:
    """Return a message that may be published, or raise `MigratoryDataException` (codes 4, 1, 5, 6)."""
    if message is None:
        raise MigratoryDataException(MigratoryDataException.E_MSG_NULL, "There is no message.")
    if not isinstance(message, MigratoryDataMessage):
        raise _invalid("A message is a MigratoryDataMessage.")
    check_subject(message.get_subject())
    content = message.get_content()
    if not isinstance(content, str | bytes) or not content:
        raise _invalid("A message's content is a string or bytes, and not empty.")
    if isinstance(content, str) and not _is_utf8(content):
        raise _invalid("A message's content is UTF-8.")
    if not isinstance(message.get_closure(), str):
        raise _invalid("A message's closure is a string.")
    if message._qos not in tuple(QoS):
        raise _invalid("A message's quality of service is STANDARD or GUARANTEED.")
    if message.get_reply_subject():
        check_subject(message.get_reply_subject())
    for field in message._fields:
        _check_field(field)
    return message


def attributes_of(message: MigratoryDataMessage) -> dict[str, str]:
    """Return what travels beside the content of a checked message."""
    attributes = dict(message._fields)
    if message.get_reply_subject():
        attributes[REPLY] = message.get_reply_subject()
    if message.get_qos() is QoS.STANDARD:
        attributes[QUALITY] = str(int(QoS.STANDARD))
    if not message.is_retained():
        attributes[PLAIN] = "1"
    return attributes


class Sent(TypedDict):
    """A message as `headrace.Client.publish` takes it."""

    text: str | None
    data: bytes | None
    attributes: dict[str, str]
    retained: bool


def sent(message: MigratoryDataMessage) -> Sent:
    """Return what a checked message is to Headrace."""
    content = message.get_content()
    return {
        "text": content if isinstance(content, str) else None,
        "data": content if isinstance(content, bytes) else None,
        "attributes": attributes_of(message),
        "retained": message.is_retained(),
    }


def received(message: Message, subject: str, kind: MessageType) -> MigratoryDataMessage:
    """Return a Headrace message as this API knows it: text and JSON as a string, else bytes."""
    attributes: Mapping[str, str] = message.attributes
    made = MigratoryDataMessage(
        subject,
        message.data if message.kind == "binary" else message.text,
        "",
        QoS.STANDARD if attributes.get(QUALITY) == str(int(QoS.STANDARD)) else QoS.GUARANTEED,
        PLAIN not in attributes,
        attributes.get(REPLY, ""),
        fields=[field for field in attributes.items() if not field[0].startswith(MARK)],
    )
    made._type, made._epoch, made._seq = kind, message.position.epoch, message.position.offset
    return made


def _check_field(field: object) -> None:
    match field:
        case (str(name), str(value)) if name and not name.startswith(MARK) and _is_utf8(name + value):
            return
    detail = "A field is a name and a value, both strings; no name begins with md-."
    raise MigratoryDataException(MigratoryDataException.E_MSG_FIELD_INVALID, detail)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _invalid(detail: str) -> MigratoryDataException:
    return MigratoryDataException(MigratoryDataException.E_MSG_INVALID, detail)
