"""A topic as an object: the service's methods with the name filled in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Unpack
from urllib.parse import unquote

from headrace.ams.errors import AmsException
from headrace.ams.message import AmsMessage, Document
from headrace.ams.options import HttpOptions, RequestOptions

if TYPE_CHECKING:
    from headrace.ams.service import ArgoMessagingService
    from headrace.ams.subscription import AmsSubscription


def full_name(project: str, kind: str, name: str) -> str:
    """Return `/projects/P/topics/T`; a `/` in the name itself, which ARGO does not have, is written `%2F`."""
    local = name.replace("%", "%25").replace("/", "%2F")
    return f"/projects/{project}/{kind}/{local}"


def short_name(fullname: str, project: str, kind: str) -> str:
    """Return T of `/projects/P/topics/T`. Raises `AmsException` for the name of another project or kind."""
    prefix = f"/projects/{project}/{kind}/"
    if not fullname.startswith(prefix):
        raise AmsException(f"{fullname!r} does not begin with {prefix!r}")
    return unquote(fullname.removeprefix(prefix))


class AmsTopic:
    """`acls` is what `acl` last heard or said, None before."""

    def __init__(self, fullname: str, init: ArgoMessagingService) -> None:
        self.acls: list[str] | None = None
        self.init = init
        self.fullname = fullname
        self.name = short_name(fullname, init.project, "topics")

    def __repr__(self) -> str:
        return f"<AmsTopic {self.fullname}>"

    def delete(self) -> Document:
        return self.init.delete_topic(self.name)

    def subscription(self, sub: str, ackdeadline: int = 10, **reqkwargs: Unpack[RequestOptions]) -> AmsSubscription:
        """Return the subscription of that name, which is created if need be."""
        if self.init.has_sub(sub, **reqkwargs):
            return self.init.get_sub(sub, retobj=True, **reqkwargs)
        return self.init.create_sub(sub, self.name, ackdeadline=ackdeadline, retobj=True, **reqkwargs)

    def acl(self, users: list[str] | None = None, **reqkwargs: Unpack[RequestOptions]) -> Document | bool:
        """Return who is authorized; with `users`, authorize these alone and return True."""
        if users is None:
            return self.init.getacl_topic(self.name, **reqkwargs)
        return self.init.modifyacl_topic(self.name, users, **reqkwargs)

    def iter_subs(self) -> Iterator[AmsSubscription]:
        """Iterate over this topic's subscriptions."""
        yield from self.init.iter_subs(topic=self.name)

    def publish(
        self,
        msg: AmsMessage | Mapping[str, object] | list[AmsMessage | Mapping[str, object]],
        retry: int = 0,
        retrysleep: float = 60,
        retrybackoff: float | None = None,
        *,
        key: str | None = None,
        **reqkwargs: Unpack[HttpOptions],
    ) -> Document:
        """Publish one message or a list; see `ArgoMessagingService.publish`."""
        return self.init.publish(
            self.name, msg, retry=retry, retrysleep=retrysleep, retrybackoff=retrybackoff, key=key, **reqkwargs
        )
