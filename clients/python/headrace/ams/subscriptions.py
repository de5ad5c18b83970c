"""The calls on subscriptions: make and configure them, say who may pull, place their cursor."""

# ruff: noqa: PLR0917 (the signatures are those of argo-ams-library)

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast, overload

from headrace.ams.answers import field
from headrace.ams.errors import AmsServiceException, refusal
from headrace.ams.message import Document
from headrace.ams.options import RequestOptions
from headrace.ams.shared import SharedPolicy
from headrace.ams.subscription import AmsSubscription
from headrace.ams.topic import full_name
from headrace.ams.topics import Topics

if TYPE_CHECKING:
    from headrace.ams.service import ArgoMessagingService

OFFSETS = ("max", "min", "current")


class Subscriptions(Topics):
    """`subs` are the objects made so far, by full name."""

    subs: dict[str, AmsSubscription]

    def has_sub(self, sub: str, **reqkwargs: Unpack[RequestOptions]) -> bool:
        try:
            self.get_sub(sub, **reqkwargs)
        except AmsServiceException as error:
            if error.code == 404:
                return False
            raise
        return True

    @overload
    def get_sub(self, sub: str, retobj: Literal[False] = False, **reqkwargs: Unpack[RequestOptions]) -> Document: ...

    @overload
    def get_sub(self, sub: str, retobj: Literal[True], **reqkwargs: Unpack[RequestOptions]) -> AmsSubscription: ...

    def get_sub(
        self, sub: str, retobj: bool = False, **reqkwargs: Unpack[RequestOptions]
    ) -> Document | AmsSubscription:
        """Return the subscription's document, or an `AmsSubscription`. Raises `AmsServiceException` (404)."""
        document = self._call("sub_get", self.project, sub, options=reqkwargs)
        found = self._sub_object(document, "sub_get")
        return found if retobj else document

    @overload
    def create_sub(
        self,
        sub: str,
        topic: str,
        ackdeadline: int = 10,
        push_endpoint: str | None = None,
        retry_policy_type: str = "linear",
        retry_policy_period: int = 300,
        retobj: Literal[False] = False,
        *,
        shared: SharedPolicy | None = None,
        **reqkwargs: Unpack[RequestOptions],
    ) -> Document: ...

    @overload
    def create_sub(
        self,
        sub: str,
        topic: str,
        ackdeadline: int = 10,
        push_endpoint: str | None = None,
        retry_policy_type: str = "linear",
        retry_policy_period: int = 300,
        *,
        retobj: Literal[True],
        shared: SharedPolicy | None = None,
        **reqkwargs: Unpack[RequestOptions],
    ) -> AmsSubscription: ...

    def create_sub(
        self,
        sub: str,
        topic: str,
        ackdeadline: int = 10,
        push_endpoint: str | None = None,
        retry_policy_type: str = "linear",
        retry_policy_period: int = 300,
        retobj: bool = False,
        *,
        shared: SharedPolicy | None = None,
        **reqkwargs: Unpack[RequestOptions],
    ) -> Document | AmsSubscription:
        """Create a subscription that begins with the next message. Raises `AmsServiceException` (404, 409).

        With `shared` it has competing consumers. A push configuration goes with the same request: both are made, or
        neither.
        """
        wanted: Document = {"topic": self._topic_name(topic)[1:], "ackDeadlineSeconds": ackdeadline}
        if push_endpoint:
            wanted |= _push_config(push_endpoint, retry_policy_type, retry_policy_period)
        if shared is not None:
            wanted |= shared.document(self.project)
        document = self._call("sub_create", self.project, sub, body=json.dumps(wanted), options=reqkwargs)
        made = self._sub_object(document, "sub_create")
        return made if retobj else document

    def delete_sub(self, sub: str, **reqkwargs: Unpack[RequestOptions]) -> Document:
        answer = self._call("sub_delete", self.project, sub, options=reqkwargs)
        self.subs.pop(self._sub_name(sub), None)
        return answer

    def list_subs(self, **reqkwargs: Unpack[RequestOptions]) -> Document:
        """Return all subscriptions of the project: `subscriptions`, `nextPageToken`, `totalSize`."""
        page, _ = self._subs_listed(reqkwargs)
        return page

    def iter_subs(self, topic: str | None = None, **reqkwargs: Unpack[RequestOptions]) -> Iterator[AmsSubscription]:
        """Iterate over the project's subscriptions, or those of one topic."""
        _, listed = self._subs_listed(reqkwargs)
        for sub in listed:
            if topic is None or sub.topic.name == topic:
                yield sub

    def getacl_sub(self, sub: str, **reqkwargs: Unpack[RequestOptions]) -> Document:
        """Return who may pull, `{"authorized_users": [...]}`, and keep it as the object's `acls`."""
        answer = self._call("sub_getacl", self.project, sub, options=reqkwargs)
        self._remember_acl(sub, cast("list[str]", field(answer, "authorized_users", "sub_getacl")))
        return answer

    def modifyacl_sub(self, sub: str, users: Sequence[str], **reqkwargs: Unpack[RequestOptions]) -> Literal[True]:
        """Authorize these users and nobody else; an empty list takes every authorization away."""
        body = json.dumps({"authorized_users": list(users)})
        self._call("sub_modifyacl", self.project, sub, body=body, options=reqkwargs)
        self._remember_acl(sub, list(users))
        return True

    def pushconfig_sub(
        self,
        sub: str,
        push_endpoint: str | None = None,
        retry_policy_type: str = "linear",
        retry_policy_period: int = 300,
        **reqkwargs: Unpack[RequestOptions],
    ) -> Document:
        """Have messages sent to an https URL, every `retry_policy_period` ms; without a URL, consumers pull again."""
        wanted: Document = {"pushConfig": {}}
        if push_endpoint:
            wanted = _push_config(push_endpoint, retry_policy_type, retry_policy_period)
        answer = self._call("sub_pushconfig", self.project, sub, body=json.dumps(wanted), options=reqkwargs)
        known = self.subs.get(self._sub_name(sub))
        if known is not None:
            known.refresh(wanted["pushConfig"], known.ackdeadline)
        return answer

    @overload
    def getoffsets_sub(
        self, sub: str, offset: Literal["all"] = "all", **reqkwargs: Unpack[RequestOptions]
    ) -> dict[str, int]: ...

    @overload
    def getoffsets_sub(self, sub: str, offset: str, **reqkwargs: Unpack[RequestOptions]) -> dict[str, int] | int: ...

    def getoffsets_sub(
        self, sub: str, offset: str = "all", **reqkwargs: Unpack[RequestOptions]
    ) -> dict[str, int] | int:
        """Return `{"max", "min", "current"}`, or the one that `offset` names.

        max is the next message to be published, min the oldest that is kept, current the next to be delivered.
        """
        if offset != "all" and offset not in OFFSETS:
            raise refusal(400, "INVALID_ARGUMENT", f"{offset!r} is not valid offset position", "sub_offsets")
        answer = self._call("sub_offsets", self.project, sub, options=reqkwargs)
        return answer if offset == "all" else cast("int", field(answer, offset, "sub_offsets"))

    def modifyoffset_sub(self, sub: str, move_to: int | str, **reqkwargs: Unpack[RequestOptions]) -> Document:
        """Seek: the next pull begins at `move_to`. Raises `AmsServiceException` (400) beyond what is kept."""
        body = json.dumps({"offset": int(move_to)})
        return self._call("sub_mod_offset", self.project, sub, body=body, options=reqkwargs)

    def time_to_offset_sub(self, sub: str, timestamp: datetime, **reqkwargs: Unpack[RequestOptions]) -> int:
        """Return the offset of the first message at or after `timestamp` (UTC where it names no zone).

        Raises `AmsServiceException` (409) where all messages are older.
        """
        answer = self._call("sub_timeToOffset", self.project, sub, _zulu(timestamp), options=reqkwargs)
        return cast("int", field(answer, "offset", "sub_timeToOffset"))

    def _subs_listed(self, options: RequestOptions) -> tuple[Document, list[AmsSubscription]]:
        page = self._call("sub_list", self.project, options=options)
        documents = cast("list[Document]", field(page, "subscriptions", "sub_list"))
        return page, [self._sub_object(document, "sub_list") for document in documents]

    def _sub_name(self, sub: str) -> str:
        return full_name(self.project, "subscriptions", sub)

    def _sub_object(self, document: Document, request: str) -> AmsSubscription:
        """Return the one object of this subscription, as `document` now describes it."""
        name = str(field(document, "name", request))
        push = cast("Mapping[str, Any]", field(document, "pushConfig", request))
        deadline = cast("int", field(document, "ackDeadlineSeconds", request))
        topic = self._topic_object(field(document, "topic", request))
        found = self.subs.get(name)
        if found is None or found.topic is not topic:
            made = AmsSubscription(name, topic.fullname, push, deadline, cast("ArgoMessagingService", self))
            found = self.subs[name] = made
        found.refresh(push, deadline)
        found.kind = document.get("kind", "cursor")
        return found

    def _remember_acl(self, sub: str, users: list[str]) -> None:
        """There is an object only where its topic was ever heard of."""
        known = self.subs.get(self._sub_name(sub))
        if known is not None:
            known.acls = users


def _push_config(endpoint: str, policy: str, period: int) -> Document:
    retry = {"type": policy, "period": period}
    return {"pushConfig": {"type": "http_endpoint", "pushEndpoint": endpoint, "retryPolicy": retry}}


def _zulu(timestamp: datetime) -> str:
    moment = timestamp.astimezone(UTC).replace(tzinfo=None) if timestamp.tzinfo else timestamp
    return f"{moment.isoformat(timespec='milliseconds')}Z"
