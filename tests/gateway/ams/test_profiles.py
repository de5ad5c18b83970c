"""Bodies of users to changes, and back to documents; the routes' tests hold the rest."""

import pytest

from broker.acls import Grants
from broker.errors import InvalidRequest
from broker.names import ProjectName
from broker.registrations import Registration, Status
from broker.users import Profile, User, UserChange
from gateway.ams.profiles import (
    full_document,
    member_document,
    read_change,
    read_roles,
    registration_document,
    roles_for,
)

P, Q = ProjectName("p"), ProjectName("q")
ANN = User(uuid="u", name="ann", projects={P: ("consumer",), Q: ()}, service_roles=("admin_viewer",))
GRANTS = {("u", P): Grants(("t",), ("s",))}
IN_P = {"project": "p", "roles": ["consumer"], "topics": ["t"], "subscriptions": ["s"]}
IN_Q = {"project": "q", "roles": [], "topics": [], "subscriptions": []}


@pytest.mark.parametrize(
    ("body", "change"),
    [
        (b"{}", UserChange()),
        (b"null", UserChange()),
        (b'{"name":null,"projects":null,"service_roles":null}', UserChange()),
        (b'{"NAME":"n","eMail":"e"}', UserChange(name="n", profile=Profile(email="e"))),
        (b'{"projects":[],"service_roles":[]}', UserChange(projects=[], service_roles=[])),
        (b'{"projects":[{"project":"p"},{"roles":["a"]}]}', UserChange(projects=[("p", []), ("", ["a"])])),
    ],
)
def test_what_a_body_says(body: bytes, change: UserChange) -> None:
    assert read_change(body) == change


@pytest.mark.parametrize("body", [b"", b"1", b'{"name":{}}', b'{"projects":"p"}', b'{"service_roles":{}}'])
def test_a_body_that_says_nothing(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_change(body)


def test_roles_of_one_project() -> None:
    change = UserChange(projects=[("q", ["a"]), ("p", ["b"]), ("p", ["c"])])
    assert roles_for(change, P) == ["b"]
    assert roles_for(change, ProjectName("r")) is None
    assert roles_for(UserChange(), P) is None
    assert read_roles(b'{"Roles":["a"]}') == ["a"]
    assert read_roles(b"{}") == []


def test_everything_about_a_user() -> None:
    document = full_document(ANN, GRANTS, token="t", creator="root")
    assert (document["projects"], document["token"], document["created_by"]) == ([IN_P, IN_Q], "t", "root")
    assert document["service_roles"] == ["admin_viewer"]
    assert "projects" not in full_document(ANN, GRANTS, token="t", creator="", with_projects=False)
    assert not {"token", "created_by", "first_name"} & set(full_document(ANN, GRANTS, token="", creator=""))


def test_what_a_projects_admin_may_know() -> None:
    document = member_document(ANN, GRANTS, P)
    assert (document["projects"], document["service_roles"]) == ([IN_P], [])
    assert not {"token", "created_by"} & set(document)
    assert "projects" not in member_document(ANN, GRANTS, P, with_projects=False)
    assert "projects" not in member_document(ANN, GRANTS, ProjectName("r"))


def test_a_registration() -> None:
    pending = Registration(uuid="u", name="ann", profile=Profile(email="e"), activation_token="a", registered_ms=1000)
    assert registration_document(pending, modified_by="") == {
        "uuid": "u",
        "name": "ann",
        "email": "e",
        "first_name": "",
        "last_name": "",
        "organization": "",
        "description": "",
        "status": "pending",
        "activation_token": "a",
        "registered_at": "1970-01-01T00:00:01Z",
    }
    declined = Registration(
        uuid="u", name="ann", profile=Profile(), status=Status.DECLINED, decline_comment="no", modified_ms=2000
    )
    document = registration_document(declined, modified_by="root")
    assert (document["decline_comment"], document["modified_by"], document["modified_at"]) == (
        "no",
        "root",
        "1970-01-01T00:00:02Z",
    )
