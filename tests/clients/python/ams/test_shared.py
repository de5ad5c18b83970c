"""The policy of a shared subscription, as it goes over the wire."""

from headrace.ams import SharedPolicy


def test_a_plain_policy_leaves_the_rest_to_the_server() -> None:
    assert SharedPolicy().document("P") == {
        "kind": "shared",
        "retryPolicy": {"type": "linear", "minimumMs": 0, "maximumMs": 0},
    }


def test_every_field_has_its_key() -> None:
    policy = SharedPolicy(
        max_attempts=5,
        dead_letter_topic="dead/letters",
        redelivery="exponential",
        redelivery_min_ms=100,
        redelivery_max_ms=5000,
        ordering_attribute="customer",
        max_outstanding=10,
    )
    assert policy.document("P") == {
        "kind": "shared",
        "maxAttempts": 5,
        "deadLetterTopic": "projects/P/topics/dead%2Fletters",
        "retryPolicy": {"type": "exponential", "minimumMs": 100, "maximumMs": 5000},
        "orderingAttribute": "customer",
        "maxOutstanding": 10,
    }


def test_a_constant_wait_is_a_policy_too() -> None:
    assert SharedPolicy(redelivery_min_ms=250).document("P")["retryPolicy"]["maximumMs"] == 250
