"""Users, members and projects, beyond what test_compatible holds."""

import json

from argo_stub import Stub

from headrace.ams import AmsUser, AmsUserProject, ArgoMessagingService


def last_body(stub: Stub) -> object:
    return json.loads(stub.seen[-1].body)


def test_a_change_names_only_what_changes(ams: ArgoMessagingService, stub: Stub) -> None:
    ams.create_user(AmsUser(name="u"))
    ams.update_user("u")
    assert last_body(stub) == {}
    ams.update_user("u", "F", "L", "D", "O", "v", "e", ["metrics_viewer"], [AmsUserProject("P", ["consumer"])])
    assert last_body(stub) == {
        "first_name": "F",
        "last_name": "L",
        "description": "D",
        "organization": "O",
        "name": "v",
        "email": "e",
        "service_roles": ["metrics_viewer"],
        "projects": [{"project": "P", "roles": ["consumer"]}],
    }


def test_pages_are_asked_for_as_the_service_names_them(ams: ArgoMessagingService, stub: Stub) -> None:
    ams.create_user(AmsUser(name="u"))
    page = ams.list_users(page_size=1)
    assert stub.seen[-1].query == {"details": ["true"], "pageSize": ["1"]}
    assert (len(page.users), page.total_size) == (1, 2)
    rest = ams.list_users(details=False, page_size=1, next_page_token=page.next_page_token)
    assert stub.seen[-1].query == {"details": ["false"], "pageSize": ["1"], "pageToken": ["1"]}
    assert [user.name for user in rest.users] == ["u"]
    ams.list_users(params={"project": "uuid"})
    assert stub.seen[-1].query["project"] == ["uuid"]


def test_a_member_belongs_to_the_services_project_or_another(ams: ArgoMessagingService, stub: Stub) -> None:
    ams.create_project_member("u", roles=["consumer"], email="e")
    assert stub.seen[-1].path == "/v1/projects/P/members/u"
    assert last_body(stub) == {
        "projects": [{"project": "P", "roles": ["consumer"], "topics": [], "subscriptions": []}],
        "email": "e",
    }
    ams.create_project("Q", "another")
    ams.add_project_member("u", "Q")
    assert stub.seen[-1].path == "/v1/projects/Q/members/u:add"
    assert last_body(stub) == {"roles": []}
    assert ams.get_project_member("u").name == ams.get_project_member("u", "Q").name == "u"
    assert ams.remove_project_member("u", "Q") == {}


def test_a_project_is_renamed(ams: ArgoMessagingService, stub: Stub) -> None:
    ams.create_project("Q", "d")
    assert ams.update_project("Q", updated_name="R")["name"] == "R"
    assert last_body(stub) == {"name": "R"}
    assert ams.delete_project("R") == {}
