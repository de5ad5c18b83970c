"""Quotas: what the configuration says of projects reaches the catalog."""

import pytest

from broker.catalog import AUTO_TOPICS, CatalogDefaults
from broker.store.base import ProjectLimits, Unheard
from broker.subscriptions import PROJECT_SUBSCRIPTIONS
from gateway.config import ConfigError, load
from gateway.quotas import ProjectDefaults


def defaults(**flags: object) -> CatalogDefaults:
    return load({f"projects.{key}": value for key, value in flags.items()}, environment={}).catalog_defaults


def test_unless_it_is_said_there_are_topics_and_publishes_without_number() -> None:
    assert ProjectDefaults().limits == ProjectLimits(subscriptions=PROJECT_SUBSCRIPTIONS, no_subscriber=Unheard.ACCEPT)
    assert defaults().auto_topics == AUTO_TOPICS
    assert defaults().limits == ProjectDefaults().limits


def test_what_is_said_reaches_the_catalog() -> None:
    said = defaults(
        topics=1, auto_topics=2, subscriptions=3, publish_per_second=4.5, retained_bytes=6, no_subscriber="refuse"
    )
    assert said.auto_topics == 2
    assert said.limits == ProjectLimits(1, 3, 4.5, 6, Unheard.REFUSE)


@pytest.mark.parametrize("key", ["topics", "auto_topics", "subscriptions", "publish_per_second", "retained_bytes"])
def test_less_than_nothing_is_refused(key: str) -> None:
    with pytest.raises(ConfigError):
        defaults(**{key: -1})
