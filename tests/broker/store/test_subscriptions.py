"""What every store does alike with subscriptions: the memory store, Valkey, Redis and a Redis Cluster."""

from broker.store.subscriptions import MAX_OUTSTANDING, SubscriptionKind, SubscriptionSettings


def test_by_default_a_subscription_is_argos() -> None:
    settings = SubscriptionSettings()
    assert (settings.kind, settings.ack_deadline_s) == (SubscriptionKind.CURSOR, 10)
    assert settings.max_attempts is None
    assert settings.max_outstanding <= MAX_OUTSTANDING
