"""One ARGO request after its route and its caller were found: what the handlers are given."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from broker.catalog import Catalog
from broker.names import ProjectName, SubscriptionName, TopicName
from broker.rights import Principal
from gateway.ams.rates import Rates
from gateway.context import Context


@dataclass(frozen=True, slots=True)
class Target:
    """What the path names, empty where it names none. `names` holds the rest by variable, all valid ARGO names."""

    project: ProjectName
    topic: TopicName
    subscription: SubscriptionName
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    context: Context
    caller: Principal
    target: Target
    query: Mapping[str, str]
    body: bytes
    token: str | None = None
    """The credential as it was presented; for handlers of routes that ask for no role."""
    rates: Rates = field(default_factory=Rates)
    """Of this node's pulls."""

    @property
    def catalog(self) -> Catalog:
        return self.context.catalog

    @property
    def project(self) -> ProjectName:
        return self.target.project

    @property
    def subscription(self) -> SubscriptionName:
        return self.target.subscription


NO_PROJECT = ProjectName("")
NO_TOPIC = TopicName("")
NO_SUBSCRIPTION = SubscriptionName("")

Handler = Callable[[Request], Awaitable[bytes]]
"""Returns the body of the 200, perhaps empty, or raises the refusal."""
