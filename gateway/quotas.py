"""What the configuration says of projects: bounds that hold where a project has none of its own."""
# ruff: noqa: RUF009 - `option` makes a dataclass field, as `field` does; it is no default value.

from dataclasses import dataclass

from broker.catalog import AUTO_TOPICS
from broker.store.base import ProjectLimits, Unheard
from broker.subscriptions import PROJECT_SUBSCRIPTIONS
from gateway.options import option


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectDefaults:
    """What a project may have and do when it does not say otherwise; 0 is no limit."""

    topics: int = option(0, "Topics of a project; 0: any number.", least=0)
    auto_topics: int = option(AUTO_TOPICS, "Topics that a project may have for first use to make another.", least=1)
    subscriptions: int = option(PROJECT_SUBSCRIPTIONS, "Durable subscriptions of a project.", least=1)
    publish_per_second: float = option(
        0, "Messages a second that a project publishes on each node; 0: any number.", least=0
    )
    retained_bytes: int = option(
        0, "Bytes in all topics of a project, above which its publishes are refused; 0: any number.", least=0
    )
    no_subscriber: Unheard = option(
        Unheard.ACCEPT, "A publish to a topic that nobody follows or subscribes to: accept or refuse."
    )

    @property
    def limits(self) -> ProjectLimits:
        """The broker's form of these, None for any number."""
        return ProjectLimits(
            topics=self.topics or None,
            subscriptions=self.subscriptions,
            publish_per_second=self.publish_per_second or None,
            retained_bytes=self.retained_bytes or None,
            no_subscriber=self.no_subscriber,
        )
