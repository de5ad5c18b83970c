"""One message: what a publisher fills, and what a pull returns."""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Self

from headrace.ams.errors import AmsMessageException

Document = dict[str, Any]
"""A JSON object."""


class AmsMessage:
    """Data, kept as the base64 text that travels, and attributes. One of them must be there.

    `b64enc=False` takes data that is base64 text already. Called with other data, a message becomes that message and
    returns its document, so that one object serves as a template.
    """

    def __init__(
        self,
        b64enc: bool = True,
        attributes: Mapping[str, str] | str = "",
        data: str | bytes | None = None,
        messageId: str = "",  # noqa: N803
        publishTime: str = "",  # noqa: N803
    ) -> None:
        self._attributes = dict(attributes) if isinstance(attributes, Mapping) else {}
        self._data = ""
        self._message_id = messageId
        self._publish_time = publishTime
        self.set_data(data, b64enc)

    @classmethod
    def pulled(cls, document: Mapping[str, Any]) -> Self:
        """Return the message of a pull's answer. Keys that this version does not know are left out."""
        return cls(
            b64enc=False,
            attributes=document.get("attributes") or {},
            data=document.get("data"),
            messageId=document.get("messageId", ""),
            publishTime=document.get("publishTime", ""),
        )

    def __call__(self, **kwargs: Any) -> Document:
        if "data" not in kwargs:
            kwargs |= {"data": self._data, "b64enc": False}
        AmsMessage.__init__(self, **({"attributes": self._attributes} | kwargs))
        return self.dict()

    def set_attr(self, key: str, value: str) -> None:
        self._attributes[key] = value

    def set_data(self, data: str | bytes | None, b64enc: bool = True) -> None:
        """Replace the data; empty data changes nothing. Raises `AmsMessageException` for what is no text or bytes."""
        if not data:
            return
        if not isinstance(data, str | bytes | bytearray):
            raise AmsMessageException(f"data is text or bytes, not {type(data).__name__}")
        try:
            raw = data.encode() if isinstance(data, str) else bytes(data)
            self._data = b64encode(raw).decode() if b64enc else raw.decode()
        except UnicodeError as error:
            raise AmsMessageException(f"data cannot be sent: {error}") from None

    def dict(self) -> Document:
        """Return what is sent. Keys without a value are left out."""
        self._require_content()
        known: Document = {
            "attributes": self._attributes,
            "data": self._data,
            "messageId": self._message_id,
            "publishTime": self._publish_time,
        }
        return {key: value for key, value in known.items() if value}

    def get_data(self) -> bytes:
        """Return the decoded data. Raises `AmsMessageException` where there is none, or it is not base64."""
        self._require_content()
        if not self._data:
            raise AmsMessageException("this message has attributes only, no data")
        try:
            return b64decode(self._data)
        except ValueError as error:
            raise AmsMessageException(f"data is not base64: {error}") from None

    def get_msgid(self) -> str:
        """Return the id, which is the message's offset in its topic, as text."""
        return self._message_id

    def get_publishtime(self) -> str:
        """Return when the server stored it: UTC, `YYYY-MM-DDTHH:MM:SS.fffZ`."""
        return self._publish_time

    def get_attr(self) -> Mapping[str, str]:
        self._require_content()
        return self._attributes

    def json(self) -> str:
        return json.dumps(self.dict())

    def __str__(self) -> str:
        return str(self.dict())

    def _require_content(self) -> None:
        if not self._data and not self._attributes:
            raise AmsMessageException("a message has data or at least one attribute")
