"""The way in: one object for a project on a server or several."""

# ruff: noqa: PLR0917 (the signatures are those of argo-ams-library)

from collections.abc import Sequence

from headrace.ams.accounts import Accounts
from headrace.ams.consuming import Consuming
from headrace.ams.reports import Reports
from headrace.ams.subscription import AmsSubscription
from headrace.ams.topic import AmsTopic


class ArgoMessagingService(Consuming, Accounts, Reports):
    """The ARGO Messaging API of a Headrace cluster, with the methods of `argo-ams-library`.

    `endpoint` is a host (https), `host:port`, a base URL, or a list of them; what one server cannot answer, the next
    is asked. The credential is a token, or the paths of an X.509 certificate and its key, exchanged for a token at
    `authn_port`. Every method takes `timeout`, `verify`, `cert`, `headers` and `params` as the requests library means
    them, and `retry`, `retrysleep`, `retrybackoff`. Threads may share a service.
    """

    def __init__(
        self,
        endpoint: str | Sequence[str],
        token: str = "",
        project: str = "",
        cert: str = "",
        key: str = "",
        authn_port: int = 8443,
    ) -> None:
        super().__init__(endpoint, authn_port, token, cert, key)
        self.project = project
        self.pullopts: dict[str, str] = {"maxMessages": "1", "returnImmediately": "false"}
        self.topics: dict[str, AmsTopic] = {}
        self.subs: dict[str, AmsSubscription] = {}

    def __repr__(self) -> str:
        return f"<ArgoMessagingService {self.endpoint} project={self.project!r}>"
