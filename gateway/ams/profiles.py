"""Users and registrations in ARGO's form: bodies to changes, values to documents (contract ams.md 4.2, 4.3). Pure."""

from collections.abc import Mapping
from dataclasses import asdict

from broker.acls import Grants
from broker.errors import InvalidRequest
from broker.names import ProjectName
from broker.registrations import Registration
from broker.users import Profile, User, UserChange
from gateway.ams.wire import field_of, read_object, text_of, zulu_seconds

PROFILE_KEYS = ("email", "first_name", "last_name", "organization", "description")


def read_change(body: bytes) -> UserChange:
    """Return what a user's create or update body says. Raises `InvalidRequest`."""
    document = read_object(body)
    return UserChange(
        name=text_of(document, "name") or "",
        profile=read_profile(document),
        projects=_projects(field_of(document, "projects")),
        service_roles=_texts(field_of(document, "service_roles"), "service_roles"),
    )


def read_profile(document: Mapping[str, object]) -> Profile:
    """Raises `InvalidRequest` for a text that is none."""
    return Profile(**{key: text_of(document, key) or "" for key in PROFILE_KEYS})


def roles_for(change: UserChange, project: ProjectName) -> list[str] | None:
    """Return the roles that a body gives in one project, None where it does not name that."""
    for name, roles in change.projects or ():
        if name == project:
            return list(roles)
    return None


def read_roles(body: bytes) -> list[str]:
    """Return the `roles` of a body, none where they are absent. Raises `InvalidRequest`."""
    return _texts(field_of(read_object(body), "roles"), "roles") or []


def _projects(value: object) -> list[tuple[str, list[str]]] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise InvalidRequest("projects is not a list.")
    return [_membership(item) for item in value]


def _membership(item: object) -> tuple[str, list[str]]:
    if not isinstance(item, dict):
        raise InvalidRequest("A project of a user is not an object.")
    return text_of(item, "project") or "", _texts(field_of(item, "roles"), "roles") or []


def _texts(value: object, name: str) -> list[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidRequest(f"{name} is not a list of strings.")
    return value


def full_document(
    user: User,
    grants: Mapping[tuple[str, ProjectName], Grants],
    *,
    token: str,
    creator: str,
    with_projects: bool = True,
) -> dict[str, object]:
    """Return everything about a user, its token included. `creator` is a name, empty where there is none."""
    memberships = [_membership_document(user, name, grants) for name in user.projects] if with_projects else []
    return _document(user, memberships, {"token": token, "created_by": creator}, user.service_roles)


def member_document(
    user: User, grants: Mapping[tuple[str, ProjectName], Grants], project: ProjectName, *, with_projects: bool = True
) -> dict[str, object]:
    """Return what a project's admin may know of a member: no token, no creator, no other project."""
    memberships = [_membership_document(user, project, grants)] if with_projects and project in user.projects else []
    return _document(user, memberships, {}, ())


def _document(
    user: User, memberships: list[dict[str, object]], secret: Mapping[str, str], service_roles: tuple[str, ...]
) -> dict[str, object]:
    document: dict[str, object] = {"uuid": user.uuid, "projects": memberships, "name": user.name}
    document |= asdict(user.profile)
    document |= {
        **secret,
        "service_roles": list(service_roles),
        "created_on": zulu_seconds(user.created_ms),
        "modified_on": zulu_seconds(user.modified_ms),
    }
    always = ("uuid", "name", "email", "service_roles")
    return {key: value for key, value in document.items() if value or key in always}


def _membership_document(
    user: User, project: ProjectName, grants: Mapping[tuple[str, ProjectName], Grants]
) -> dict[str, object]:
    granted = grants.get((user.uuid, project), Grants())
    return {
        "project": project,
        "roles": list(user.projects[project]),
        "topics": list(granted.topics),
        "subscriptions": list(granted.subscriptions),
    }


def registration_document(registration: Registration, *, modified_by: str) -> dict[str, object]:
    """`modified_by` is the name of who decided, empty where there is none."""
    document: dict[str, object] = {"uuid": registration.uuid, "name": registration.name}
    document |= asdict(registration.profile)
    document |= {
        "status": registration.status,
        "decline_comment": registration.decline_comment,
        "activation_token": registration.activation_token,
        "registered_at": zulu_seconds(registration.registered_ms),
        "modified_by": modified_by,
        "modified_at": zulu_seconds(registration.modified_ms) if registration.modified_ms else "",
    }
    omitted = ("decline_comment", "activation_token", "modified_by", "modified_at")
    return {key: value for key, value in document.items() if value or key not in omitted}
