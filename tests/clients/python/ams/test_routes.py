"""The table of calls. That it leads where the original's does is held by test_compatible."""

import pytest

from headrace.ams.routes import BALANCED, ROUTES, templates


@pytest.mark.parametrize("name", sorted(ROUTES))
def test_every_call_has_a_method_and_a_path_of_version_one(name: str) -> None:
    route = ROUTES[name]
    assert route.method in ("get", "post", "put", "delete")
    assert route.path.startswith("/v1/")


def test_what_creates_deletes_or_renews_is_never_sent_twice() -> None:
    once = {name for name, route in ROUTES.items() if not route.repeatable}
    assert once == {
        "topic_create",
        "topic_delete",
        "sub_create",
        "sub_delete",
        "user_create",
        "user_update",
        "user_delete",
        "user_refresh_token",
        "project_add_member",
        "project_create_member",
        "project_remove_member",
        "project_create",
        "project_update",
        "project_delete",
    }


def test_what_is_retried_for_a_balancer_may_be_repeated() -> None:
    assert all(ROUTES[name].repeatable for name in BALANCED)


def test_a_template_is_filled_with_the_endpoint_and_names() -> None:
    made = templates("http")
    assert made["sub_timeToOffset"] == [
        "get",
        "http://{0}/v1/projects/{1}/subscriptions/{2}:timeToOffset?time={3}",
    ]
    assert made["auth_x509"][1].format("h", 8443) == "https://h:8443/v1/service-types/ams/hosts/h:authx509"
    assert set(made) == set(ROUTES)
