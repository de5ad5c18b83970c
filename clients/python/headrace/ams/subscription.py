"""A subscription as an object: the service's methods with the name filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Unpack

from headrace.ams.errors import AmsException
from headrace.ams.message import AmsMessage, Document
from headrace.ams.options import HttpOptions, RequestOptions
from headrace.ams.topic import AmsTopic, short_name

if TYPE_CHECKING:
    from headrace.ams.service import ArgoMessagingService


class AmsSubscription:
    """What the service last said of it. `push_endpoint` is empty where consumers pull; `kind` is cursor or shared."""

    def __init__(
        self, fullname: str, topic: str, pushconfig: Mapping[str, Any], ackdeadline: int, init: ArgoMessagingService
    ) -> None:
        if topic not in init.topics:
            raise AmsException(f"the topic {topic!r} of {fullname!r} is not known here")
        self.acls: list[str] | None = None
        self.init = init
        self.fullname = fullname
        self.topic: AmsTopic = init.topics[topic]
        self.name = short_name(fullname, init.project, "subscriptions")
        self.kind = "cursor"
        self.refresh(pushconfig, ackdeadline)

    def __repr__(self) -> str:
        return f"<AmsSubscription {self.fullname}>"

    def refresh(self, pushconfig: Mapping[str, Any], ackdeadline: int) -> None:
        """Take over what the service says now."""
        policy = pushconfig.get("retryPolicy") or {}
        self.push_endpoint: str = pushconfig.get("pushEndpoint") or ""
        self.retry_policy_type: str = policy.get("type", "") if self.push_endpoint else ""
        self.retry_policy_period: int | str = policy.get("period", 0) if self.push_endpoint else ""
        self.ackdeadline = ackdeadline

    def delete(self) -> Document:
        return self.init.delete_sub(self.name)

    def pushconfig(
        self,
        push_endpoint: str | None = None,
        retry_policy_type: str = "linear",
        retry_policy_period: int = 300,
        **reqkwargs: Unpack[RequestOptions],
    ) -> Document:
        """Have messages sent to an https URL, or, without one, let consumers pull again."""
        return self.init.pushconfig_sub(
            self.name,
            push_endpoint=push_endpoint,
            retry_policy_type=retry_policy_type,
            retry_policy_period=retry_policy_period,
            **reqkwargs,
        )

    def pull(
        self,
        num: int = 1,
        retry: int = 0,
        retrysleep: float = 60,
        retrybackoff: float | None = None,
        return_immediately: bool = False,
        **reqkwargs: Unpack[HttpOptions],
    ) -> list[tuple[str, AmsMessage]]:
        """Return up to `num` messages with their ack ids; see `ArgoMessagingService.pull_sub`."""
        return self.init.pull_sub(
            self.name,
            num=num,
            return_immediately=return_immediately,
            retry=retry,
            retrysleep=retrysleep,
            retrybackoff=retrybackoff,
            **reqkwargs,
        )

    def pullack(
        self,
        num: int = 1,
        retry: int = 0,
        retrysleep: float = 60,
        retrybackoff: float | None = None,
        return_immediately: bool = False,
        **reqkwargs: Unpack[HttpOptions],
    ) -> list[AmsMessage]:
        """Return up to `num` messages that are acknowledged already; see `ArgoMessagingService.pullack_sub`."""
        return self.init.pullack_sub(
            self.name,
            num=num,
            return_immediately=return_immediately,
            retry=retry,
            retrysleep=retrysleep,
            retrybackoff=retrybackoff,
            **reqkwargs,
        )

    def ack(
        self,
        ids: Sequence[str],
        retry: int = 0,
        retrysleep: float = 60,
        retrybackoff: float | None = None,
        **reqkwargs: Unpack[HttpOptions],
    ) -> bool:
        """Acknowledge by ack id; see `ArgoMessagingService.ack_sub`."""
        options = RequestOptions(retry=retry, retrysleep=retrysleep, retrybackoff=retrybackoff, **reqkwargs)
        return self.init.ack_sub(self.name, ids, **options)

    def nack(self, ids: Sequence[str], **reqkwargs: Unpack[RequestOptions]) -> bool:
        """Give messages of a shared subscription back, to be delivered again."""
        return self.init.nack_sub(self.name, ids, **reqkwargs)

    def extend(self, ids: Sequence[str], ackdeadline: int, **reqkwargs: Unpack[RequestOptions]) -> bool:
        """Keep messages of a shared subscription for `ackdeadline` more seconds from now."""
        return self.init.extend_sub(self.name, ids, ackdeadline, **reqkwargs)

    def time_to_offset(self, timestamp: datetime, **reqkwargs: Unpack[RequestOptions]) -> int:
        """Return the offset of the first message at or after `timestamp`."""
        return self.init.time_to_offset_sub(self.name, timestamp, **reqkwargs)

    def offsets(
        self, offset: str = "all", move_to: int = 0, **reqkwargs: Unpack[RequestOptions]
    ) -> dict[str, int] | int:
        """Return the offsets `min`, `max` and `current`, or one of them; with `move_to`, seek there first.

        0 seeks nowhere, as in ARGO's client: `init.modifyoffset_sub(name, 0)` does.
        """
        if move_to:
            self.init.modifyoffset_sub(self.name, move_to, **reqkwargs)
        return self.init.getoffsets_sub(self.name, offset, **reqkwargs)

    def acl(self, users: list[str] | None = None, **reqkwargs: Unpack[RequestOptions]) -> Document | bool:
        """Return who is authorized; with `users`, authorize these alone and return True."""
        if users is None:
            return self.init.getacl_sub(self.name, **reqkwargs)
        return self.init.modifyacl_sub(self.name, users, **reqkwargs)
