"""The calls of a consumer: pull, acknowledge, give back, keep for longer."""

# ruff: noqa: PLR0917 (the signatures are those of argo-ams-library)

import json
import logging
from collections.abc import Container, Sequence
from typing import Any, Literal, Unpack, cast

from headrace.ams.answers import field
from headrace.ams.errors import AmsBalancerException, AmsConnectionException, AmsException, AmsServiceException
from headrace.ams.message import AmsMessage
from headrace.ams.options import HttpOptions, RequestOptions
from headrace.ams.subscriptions import Subscriptions

log = logging.getLogger(__name__)

MAX_CYCLES = 10
"""Times that `pullack_sub` pulls again after an ack that failed, before the ack's error is raised."""

_FINAL = frozenset({401, 403, 404})
"""Refusals of an ack that pulling again does not mend."""


Pulled = list[tuple[str, AmsMessage]]
"""Ack ids with their messages."""


class Consuming(Subscriptions):
    """`pullopts` are further keys of a pull's body, as text."""

    pullopts: dict[str, str]

    def set_pullopt(self, key: str, value: object) -> None:
        self.pullopts[key] = str(value)

    def get_pullopt(self, key: str) -> str:
        """Raises `AmsException` for an option that was never set."""
        if key not in self.pullopts:
            raise AmsException(f"there is no pull option {key!r}")
        return self.pullopts[key]

    def pull_sub(
        self,
        sub: str,
        num: int = 1,
        return_immediately: bool = False,
        retry: int = 0,
        retrysleep: float = 60,
        retrybackoff: float | None = None,
        **reqkwargs: Unpack[HttpOptions],
    ) -> Pulled:
        """Return up to `num` messages with their ack ids, oldest first; an empty list where there are none.

        Without `return_immediately` the server waits a few seconds for a message. Until they are acknowledged, a
        cursor subscription returns the same messages to whoever pulls; a shared one leases each to one consumer.
        """
        # A copy: threads that pull at the same time do not share it.
        wanted = {**self.pullopts, "maxMessages": str(num), "returnImmediately": str(bool(return_immediately)).lower()}
        options = RequestOptions(retry=retry, retrysleep=retrysleep, retrybackoff=retrybackoff, **reqkwargs)
        answer = self._call("sub_pull", self.project, sub, body=json.dumps(wanted), options=options)
        received = cast("list[dict[str, Any]]", field(answer, "receivedMessages", "sub_pull"))
        return [
            (cast("str", field(one, "ackId", "sub_pull")), AmsMessage.pulled(one.get("message") or {}))
            for one in received
        ]

    def ack_sub(self, sub: str, ids: Sequence[str], **reqkwargs: Unpack[RequestOptions]) -> Literal[True]:
        """Acknowledge by ack id. The highest one counts for a cursor subscription, each one for a shared one.

        Raises `AmsTimeoutException` after the ack deadline: the messages come again.
        """
        self._call("sub_ack", self.project, sub, body=json.dumps({"ackIds": list(ids)}), options=reqkwargs)
        return True

    def nack_sub(self, sub: str, ids: Sequence[str], **reqkwargs: Unpack[RequestOptions]) -> Literal[True]:
        """Give messages of a shared subscription back, to be delivered again as its retry policy says."""
        return self.extend_sub(sub, ids, 0, **reqkwargs)

    def extend_sub(
        self, sub: str, ids: Sequence[str], ackdeadline: int, **reqkwargs: Unpack[RequestOptions]
    ) -> Literal[True]:
        """Keep messages of a shared subscription: their deadline is `ackdeadline` seconds from now (0 to 600)."""
        body = json.dumps({"ackIds": list(ids), "ackDeadlineSeconds": ackdeadline})
        self._call("sub_ackdeadline", self.project, sub, body=body, options=reqkwargs)
        return True

    def modifyackdeadline_sub(self, sub: str, ackdeadline: int, **reqkwargs: Unpack[RequestOptions]) -> Literal[True]:
        """Change the subscription's ack deadline, seconds from 0 to 600, for later pulls."""
        body = json.dumps({"ackDeadlineSeconds": ackdeadline})
        self._call("sub_ackdeadline", self.project, sub, body=body, options=reqkwargs)
        known = self.subs.get(self._sub_name(sub))
        if known is not None:
            known.ackdeadline = ackdeadline
        return True

    def pullack_sub(
        self,
        sub: str,
        num: int = 1,
        return_immediately: bool = False,
        retry: int = 0,
        retrysleep: float = 60,
        retrybackoff: float | None = None,
        **reqkwargs: Unpack[HttpOptions],
    ) -> list[AmsMessage]:
        """Pull and acknowledge at once; return the messages.

        No message is lost on the way, but some may come again. Where the ack of a cursor subscription comes too late,
        its messages are pulled again, up to `MAX_CYCLES` times. Where the answer to an ack is lost, the next pull
        shows whether it was heard. Of a shared subscription everything is returned but what is in other hands.
        """
        options = RequestOptions(retry=retry, retrysleep=retrysleep, retrybackoff=retrybackoff, **reqkwargs)
        unsure: Pulled = []
        for cycle in range(MAX_CYCLES + 1):
            pulled = self._pull_again(sub, num, return_immediately, unsure, options)
            if not pulled or pulled is unsure:
                break
            try:
                self.ack_sub(sub, [ack for ack, _ in pulled], **options)
            except (AmsServiceException, AmsConnectionException) as error:
                if _is_final(error) or cycle == MAX_CYCLES:
                    raise
                log.warning("the ack of a pull failed: %s", error)
                if _is_shared(pulled):
                    return _messages(pulled, without=getattr(error, "refused", {}))
                unsure = pulled if _is_outcome_unknown(error) else []
            else:
                break
        return _messages(pulled)

    def _pull_again(
        self, sub: str, num: int, return_immediately: bool, unsure: Pulled, options: RequestOptions
    ) -> Pulled:
        """Return what is to be acknowledged, or `unsure` itself where its ack turns out to have been heard.

        Where nothing can be heard any more, it counts as heard: what comes again is no loss.
        """
        try:
            pulled = self.pull_sub(sub, num, return_immediately or bool(unsure), **options)
        except AmsException as error:
            if not unsure:
                raise
            log.warning("returning messages whose ack may come to nothing: %s", error)
            return unsure
        is_heard = bool(unsure) and (not pulled or pulled[0][0] != unsure[0][0])
        return unsure if is_heard else pulled


def _messages(pulled: Pulled, *, without: Container[str] = ()) -> list[AmsMessage]:
    return [message for ack, message in pulled if ack not in without]


def _is_shared(pulled: Pulled) -> bool:
    """Ack ids of leases have a token behind the offset."""
    return "." in pulled[0][0].rpartition(":")[2]


def _is_final(error: AmsException) -> bool:
    return isinstance(error, AmsServiceException) and error.code in _FINAL


def _is_outcome_unknown(error: AmsException) -> bool:
    """The ack may have been heard. 408 and 400 say that it was not."""
    return isinstance(error, AmsConnectionException | AmsBalancerException) or (
        isinstance(error, AmsServiceException) and error.code == 504
    )
