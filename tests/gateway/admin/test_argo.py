"""The lines of the reference."""

from gateway.admin.argo import Line, lines


def test_a_line_is_a_route() -> None:
    found = list(lines())
    assert Line("Users", "get", "/v1/users/{user}", "Show a user.") in found
    pull = "/v1/projects/{project}/subscriptions/{subscription}:pull"
    assert Line("Subscriptions", "post", pull, "Pull messages.") in found
    assert len({(line.method, line.path) for line in found}) == len(found)
