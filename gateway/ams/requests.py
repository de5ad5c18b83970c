"""One ARGO request after its route and its caller were found: what the handlers are given."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from broker.catalog import Catalog
from broker.names import ProjectName, TopicName
from broker.rights import Principal, matches
from gateway.context import Context


@dataclass(frozen=True, slots=True)
class Target:
    """What the path names, empty where it names none. `names` holds the rest by variable, all valid ARGO names."""

    project: ProjectName
    topic: TopicName
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

    @property
    def catalog(self) -> Catalog:
        return self.context.catalog

    @property
    def project(self) -> ProjectName:
        return self.target.project

    @property
    def subscription(self) -> str:
        """The subscription's name inside the project."""
        return self.target.names["subscription"]


NO_PROJECT = ProjectName("")
NO_TOPIC = TopicName("")

Handler = Callable[[Request], Awaitable[bytes]]
"""Returns the body of the 200, perhaps empty, or raises the refusal."""


def sees_topic(caller: Principal, topic: TopicName) -> bool:
    """Tell whether `topic` appears in this caller's lists."""
    return caller.operator or matches(caller.publish, topic) or matches(caller.subscribe, topic)


def reaches(caller: Principal, project: ProjectName) -> bool:
    """Tell whether the caller has any right in `project`: what ARGO calls having a role there (contract ams.md 2)."""
    if caller.operator:
        return True
    root = f"{project}/"
    return any(
        pattern.startswith(root) or (pattern.endswith("*") and root.startswith(pattern[:-1]))
        for pattern in (*caller.publish, *caller.subscribe)
    )
