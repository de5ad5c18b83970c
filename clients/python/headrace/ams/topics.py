"""The calls on topics, publishing among them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Unpack, cast, overload
from uuid import uuid4

from headrace.ams.answers import field
from headrace.ams.errors import AmsMessageException, AmsServiceException
from headrace.ams.message import AmsMessage, Document
from headrace.ams.options import HttpOptions, RequestOptions
from headrace.ams.requests import AmsHttpRequests
from headrace.ams.topic import AmsTopic, full_name

if TYPE_CHECKING:
    from headrace.ams.service import ArgoMessagingService

KEY_HEADER = "Idempotency-Key"


class Topics(AmsHttpRequests):
    """`project` names the project of every call; `topics` are the objects made so far, by full name."""

    project: str
    topics: dict[str, AmsTopic]

    def topic(self, topic: str, **reqkwargs: Unpack[RequestOptions]) -> AmsTopic:
        """Return the topic, which is created if need be."""
        if self.has_topic(topic, **reqkwargs):
            return self.get_topic(topic, retobj=True, **reqkwargs)
        return self.create_topic(topic, retobj=True, **reqkwargs)

    def has_topic(self, topic: str, **reqkwargs: Unpack[RequestOptions]) -> bool:
        try:
            self.get_topic(topic, **reqkwargs)
        except AmsServiceException as error:
            if error.code == 404:
                return False
            raise
        return True

    @overload
    def get_topic(
        self, topic: str, retobj: Literal[False] = False, **reqkwargs: Unpack[RequestOptions]
    ) -> Document: ...

    @overload
    def get_topic(self, topic: str, retobj: Literal[True], **reqkwargs: Unpack[RequestOptions]) -> AmsTopic: ...

    def get_topic(self, topic: str, retobj: bool = False, **reqkwargs: Unpack[RequestOptions]) -> Document | AmsTopic:
        """Return the topic's document, or an `AmsTopic` with `retobj`. Raises `AmsServiceException` (404)."""
        document = self._call("topic_get", self.project, topic, options=reqkwargs)
        found = self._topic_object(field(document, "name", "topic_get"))
        return found if retobj else document

    @overload
    def create_topic(
        self, topic: str, retobj: Literal[False] = False, **reqkwargs: Unpack[RequestOptions]
    ) -> Document: ...

    @overload
    def create_topic(self, topic: str, retobj: Literal[True], **reqkwargs: Unpack[RequestOptions]) -> AmsTopic: ...

    def create_topic(
        self, topic: str, retobj: bool = False, **reqkwargs: Unpack[RequestOptions]
    ) -> Document | AmsTopic:
        """Create a topic. Raises `AmsServiceException` (409) where it exists."""
        document = self._call("topic_create", self.project, topic, body="", options=reqkwargs)
        made = self._topic_object(field(document, "name", "topic_create"))
        return made if retobj else document

    def delete_topic(self, topic: str, **reqkwargs: Unpack[RequestOptions]) -> Document:
        answer = self._call("topic_delete", self.project, topic, options=reqkwargs)
        self.topics.pop(self._topic_name(topic), None)
        return answer

    def list_topics(self, **reqkwargs: Unpack[RequestOptions]) -> Document:
        """Return all topics of the project: `topics`, `nextPageToken`, `totalSize`."""
        page, _ = self._topics_listed(reqkwargs)
        return page

    def iter_topics(self, **reqkwargs: Unpack[RequestOptions]) -> Iterator[AmsTopic]:
        """Iterate over the topics of the project, which are asked for at the first step."""
        _, listed = self._topics_listed(reqkwargs)
        yield from listed

    def getacl_topic(self, topic: str, **reqkwargs: Unpack[RequestOptions]) -> Document:
        """Return who may publish, `{"authorized_users": [...]}`, and keep it as the object's `acls`."""
        answer = self._call("topic_getacl", self.project, topic, options=reqkwargs)
        users = field(answer, "authorized_users", "topic_getacl")
        self._topic_object(self._topic_name(topic)).acls = cast("list[str]", users)
        return answer

    def modifyacl_topic(self, topic: str, users: Sequence[str], **reqkwargs: Unpack[RequestOptions]) -> Literal[True]:
        """Authorize these users and nobody else; an empty list takes every authorization away."""
        body = json.dumps({"authorized_users": list(users)})
        self._call("topic_modifyacl", self.project, topic, body=body, options=reqkwargs)
        self._topic_object(self._topic_name(topic)).acls = list(users)
        return True

    def publish(
        self,
        topic: str,
        msg: AmsMessage | Mapping[str, object] | Sequence[AmsMessage | Mapping[str, object]],
        retry: int = 0,
        retrysleep: float = 60,
        retrybackoff: float | None = None,
        *,
        key: str | None = None,
        **reqkwargs: Unpack[HttpOptions],
    ) -> Document:
        """Publish one message or a list, all or nothing, and return `{"messageIds": [...]}` in order.

        `key` is the idempotency key (1 to 128 bytes), made here if not given. It goes out unchanged with every retry
        and to every server, so that the messages are stored once. Whoever repeats the call passes the same key.
        """
        messages = [msg] if isinstance(msg, AmsMessage | Mapping) else list(msg)
        try:
            documents = [m.dict() if isinstance(m, AmsMessage) else m for m in messages]
            body = json.dumps({"messages": documents})
        except (TypeError, ValueError) as error:
            raise AmsMessageException(f"a message cannot be written as JSON: {error}") from None
        options = RequestOptions(retry=retry, retrysleep=retrysleep, retrybackoff=retrybackoff, **reqkwargs)
        options["headers"] = {KEY_HEADER: key or uuid4().hex, **(options.get("headers") or {})}
        return self._call("topic_publish", self.project, topic, body=body, options=options)

    def _topics_listed(self, options: RequestOptions) -> tuple[Document, list[AmsTopic]]:
        page = self._call("topic_list", self.project, options=options)
        documents = cast("list[Document]", field(page, "topics", "topic_list"))
        return page, [self._topic_object(field(document, "name", "topic_list")) for document in documents]

    def _topic_name(self, topic: str) -> str:
        return full_name(self.project, "topics", topic)

    def _topic_object(self, fullname: object) -> AmsTopic:
        """Return the one object of this topic."""
        name = str(fullname)
        found = self.topics.get(name)
        if found is None:
            found = self.topics.setdefault(name, AmsTopic(name, cast("ArgoMessagingService", self)))
        return found
