"""Users, their places in projects, and pages of them, as the service shows them."""

# ruff: noqa: PLR0917 (the signatures are those of argo-ams-library)

import json
from collections.abc import Mapping, Sequence
from typing import Any, Self


class AmsUserProject:
    """A user's place in one project. `topics` and `subscriptions`, to be read only, name what the ACLs grant."""

    def __init__(
        self,
        project: str = "",
        roles: Sequence[str] | None = None,
        topics: Sequence[str] | None = None,
        subscriptions: Sequence[str] | None = None,
    ) -> None:
        self.project = project
        self.roles = _texts(roles, "a role")
        self.topics = _list(topics)
        self.subscriptions = _list(subscriptions)

    def load_from_dict(self, project_dict: Mapping[str, Any]) -> Self:
        """Take over a document of the service and return self; lists that it leaves out become empty."""
        self.project = project_dict.get("project", self.project)
        self.roles = project_dict.get("roles") or []
        self.topics = project_dict.get("topics") or []
        self.subscriptions = project_dict.get("subscriptions") or []
        return self

    def document(self) -> dict[str, object]:
        return {
            "project": self.project,
            "roles": self.roles,
            "topics": self.topics,
            "subscriptions": self.subscriptions,
        }


class AmsUser:
    """A user. What a caller decides is name, projects, person, email and service roles; the rest is the service's."""

    def __init__(
        self,
        uuid: str = "",
        name: str = "",
        projects: Sequence[AmsUserProject] | None = None,
        firstname: str = "",
        lastname: str = "",
        organization: str = "",
        description: str = "",
        token: str = "",
        email: str = "",
        service_roles: Sequence[str] | None = None,
        created_on: str = "",
        created_by: str = "",
        modified_on: str = "",
    ) -> None:
        self.uuid = uuid
        self.name = name
        self.projects: list[AmsUserProject] = _list(projects)
        if not all(isinstance(project, AmsUserProject) for project in self.projects):
            raise ValueError("a project of a user is an AmsUserProject")
        self.firstname = firstname
        self.lastname = lastname
        self.organization = organization
        self.description = description
        self.token = token
        self.email = email
        self.service_roles = _texts(service_roles, "a service role")
        self.created_on = created_on
        self.created_by = created_by
        self.modified_on = modified_on

    def __repr__(self) -> str:
        return f"<AmsUser {self.name}>"

    def to_json(self) -> str:
        """Return the body that creates this user; what is empty is left out."""
        known = {
            "projects": [project.document() for project in self.projects],
            "first_name": self.firstname,
            "last_name": self.lastname,
            "description": self.description,
            "organization": self.organization,
            "email": self.email,
            "service_roles": self.service_roles,
        }
        return json.dumps({key: value for key, value in known.items() if value})

    def load_from_dict(self, user_dict: Mapping[str, Any]) -> Self:
        """Take over a document of the service and return self; what it leaves out stays."""
        for key, attribute in _ATTRIBUTES.items():
            if key in user_dict:
                setattr(self, attribute, user_dict[key])
        if "projects" in user_dict:
            self.projects = [AmsUserProject().load_from_dict(project) for project in user_dict["projects"] or []]
        return self


_ATTRIBUTES = {
    "uuid": "uuid",
    "name": "name",
    "first_name": "firstname",
    "last_name": "lastname",
    "organization": "organization",
    "description": "description",
    "token": "token",
    "email": "email",
    "service_roles": "service_roles",
    "created_on": "created_on",
    "created_by": "created_by",
    "modified_on": "modified_on",
}
"""Attributes by the service's key."""


class AmsUserPage:
    """A page of users; `next_page_token` is empty on the last one, `total_size` counts all pages."""

    def __init__(self, users: list[AmsUser], total_size: int, next_page_token: str) -> None:
        self.users = users
        self.total_size = total_size
        self.next_page_token = next_page_token


def _list(values: Sequence[Any] | None) -> list[Any]:
    """Anything but a list counts as none given."""
    return values if isinstance(values, list) else []


def _texts(values: Sequence[str] | None, what: str) -> list[str]:
    texts = _list(values)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{what} is a text")
    return texts
