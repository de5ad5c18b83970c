"""Users as values: what a change may say, and their records."""

from typing import Any

import orjson
import pytest

from broker.errors import InvalidRequest
from broker.names import ProjectName
from broker.users import (
    MAX_PROJECTS,
    MAX_TEXT_BYTES,
    Profile,
    User,
    UserChange,
    changed,
    pack,
    read_user,
    with_roles,
    without_project,
)

P, Q = ProjectName("p"), ProjectName("q")
ANN = User(
    uuid="u1",
    name="ann",
    profile=Profile(email="a@example.com", first_name="Ann"),
    projects={P: ("publisher", "consumer")},
    service_roles=("metrics_viewer",),
    token_hash="h",
    token_sealed="s",
    created_ms=1,
    modified_ms=2,
    created_by="u0",
)


def test_a_record_comes_back() -> None:
    assert read_user(pack(ANN)) == ANN
    assert read_user(pack(User(uuid="u", name="n"))) == User(uuid="u", name="n")


def test_what_a_later_version_added_is_passed_over() -> None:
    document = orjson.loads(pack(ANN))
    document["later"] = 1
    document["profile"]["later"] = 1
    assert read_user(orjson.dumps(document)) == ANN


def test_what_is_not_said_stays() -> None:
    assert changed(ANN, UserChange(), now_ms=2) == ANN
    after = changed(ANN, UserChange(name="anna", profile=Profile(last_name="B", email="b@x")), now_ms=9)
    assert (after.name, after.profile) == ("anna", Profile(email="b@x", first_name="Ann", last_name="B"))
    assert (after.projects, after.service_roles, after.modified_ms, after.created_ms) == (
        ANN.projects,
        ANN.service_roles,
        9,
        1,
    )


def test_lists_replace_whole_lists() -> None:
    after = changed(ANN, UserChange(projects=[("q", ["consumer", "consumer"])], service_roles=[]), now_ms=2)
    assert (after.projects, after.service_roles) == ({Q: ("consumer",)}, ())
    assert changed(ANN, UserChange(projects=[]), now_ms=2).projects == {}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"projects": [("p", ["nothing"])]}, "invalid role: nothing"),
        ({"projects": [("p", ["service_admin"])]}, "invalid role: service_admin"),
        ({"projects": [("p", ["_admin_"])]}, "invalid role: _admin_"),
        ({"service_roles": ["project_admin"]}, "invalid role: project_admin"),
        ({"service_roles": ["publisher"]}, "invalid role: publisher"),
        ({"projects": [("p", []), ("q", []), ("p", [])]}, "duplicate reference of project p"),
        ({"projects": [("p", ["x" * 999])]}, "invalid role: " + "x" * 80),
        ({"name": "a b"}, "Invalid user name"),
        ({"name": "a/b"}, "Invalid user name"),
        ({"name": "@service"}, "Invalid user name"),
        ({"name": "a" * 256}, "Invalid user name"),
        ({"profile": Profile(email="x" * (MAX_TEXT_BYTES + 1))}, f"email has at most {MAX_TEXT_BYTES} bytes"),
        ({"projects": [(f"p{n}", []) for n in range(MAX_PROJECTS + 1)]}, f"at most {MAX_PROJECTS} projects"),
    ],
)
def test_what_a_change_may_not_say(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        changed(ANN, UserChange(**change), now_ms=9)
    assert str(raised.value).endswith(sentence)


def test_one_project_changes_alone() -> None:
    assert with_roles(ANN, Q, ["consumer"], now_ms=5).projects == {**ANN.projects, Q: ("consumer",)}
    assert with_roles(ANN, P, [], now_ms=5).projects == {P: ()}
    assert without_project(ANN, P, now_ms=5).projects == {}
    assert without_project(ANN, Q, now_ms=5).projects == ANN.projects
    with pytest.raises(InvalidRequest, match="invalid role: service_admin"):
        with_roles(ANN, Q, ["service_admin"], now_ms=5)
    full = User(uuid="u", name="n", projects={ProjectName(f"p{n}"): () for n in range(MAX_PROJECTS)})
    with pytest.raises(InvalidRequest, match="at most"):
        with_roles(full, Q, [], now_ms=5)
