"""Users and their places: written for the service, read from it."""

import json

import pytest

from headrace.ams import AmsUser, AmsUserPage, AmsUserProject


def test_a_new_user_says_only_what_was_given() -> None:
    assert json.loads(AmsUser(name="u").to_json()) == {}
    assert json.loads(AmsUser(uuid="1", token="t", email="e", firstname="F").to_json()) == {
        "email": "e",
        "first_name": "F",
    }


def test_every_field_travels_both_ways() -> None:
    place = AmsUserProject("P", ["consumer"], ["t"], ["s"])
    user = AmsUser(
        projects=[place],
        firstname="F",
        lastname="L",
        organization="O",
        description="D",
        email="e",
        service_roles=["metrics_viewer"],
    )
    read = AmsUser().load_from_dict(json.loads(user.to_json()))
    assert json.loads(read.to_json()) == json.loads(user.to_json())
    assert vars(read.projects[0]) == vars(place)


def test_what_the_service_alone_decides_is_read() -> None:
    facts = {"uuid": "1", "name": "n", "token": "t", "created_on": "a", "created_by": "b", "modified_on": "c"}
    read = AmsUser().load_from_dict(facts)
    assert {name: getattr(read, name) for name in facts} == facts


def test_what_a_document_leaves_out_stays() -> None:
    user = AmsUser(name="n", email="e").load_from_dict({"name": "m"})
    assert (user.name, user.email) == ("m", "e")


def test_lists_that_are_null_are_empty() -> None:
    read = AmsUser().load_from_dict({"projects": [{"project": "P", "roles": None}]})
    assert (read.projects[0].roles, read.projects[0].topics) == ([], [])
    assert AmsUser().load_from_dict({"projects": None}).projects == []


def test_what_is_no_list_counts_as_none_given() -> None:
    assert AmsUserProject("P", roles=("consumer",)).roles == []
    assert AmsUser(projects="P").projects == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [
        lambda: AmsUserProject("P", roles=[1]),  # type: ignore[list-item]
        lambda: AmsUser(service_roles=[1]),  # type: ignore[list-item]
        lambda: AmsUser(projects=["P"]),  # type: ignore[list-item]
    ],
)
def test_wrong_types_in_a_list_are_refused(make: object) -> None:
    with pytest.raises(ValueError):
        make()  # type: ignore[operator]


def test_a_token_stands_in_no_repr() -> None:
    assert "secret" not in repr(AmsUser(name="n", token="secret"))


def test_a_page_holds_what_it_was_given() -> None:
    user = AmsUser(name="n")
    page = AmsUserPage([user], 3, "next")
    assert (page.users, page.total_size, page.next_page_token) == ([user], 3, "next")
