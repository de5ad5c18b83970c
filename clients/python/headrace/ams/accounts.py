"""The calls on users, members and projects."""

# ruff: noqa: PLR0917 (the signatures are those of argo-ams-library)

import json
from collections.abc import Sequence
from typing import Any, Unpack, cast

from headrace.ams.answers import field
from headrace.ams.message import Document
from headrace.ams.options import RequestOptions
from headrace.ams.requests import AmsHttpRequests
from headrace.ams.users import AmsUser, AmsUserPage, AmsUserProject


class Accounts(AmsHttpRequests):
    """Where a call takes `project`, none means the service's own."""

    project: str

    def create_user(self, user: AmsUser, **reqkwargs: Unpack[RequestOptions]) -> AmsUser:
        """Create a user and return it with its token. Raises `AmsServiceException` (409) where the name is taken."""
        if not isinstance(user, AmsUser):
            raise ValueError("a user is an AmsUser")
        return self._user("user_create", user.name, body=user.to_json(), options=reqkwargs)

    def update_user(
        self,
        name: str,
        first_name: str = "",
        last_name: str = "",
        description: str = "",
        organization: str = "",
        username: str = "",
        email: str = "",
        service_roles: Sequence[str] | None = None,
        projects: Sequence[AmsUserProject] | None = None,
        **reqkwargs: Unpack[RequestOptions],
    ) -> AmsUser:
        """Change what is given; empty texts and lists stay as they are. `username` is the new name."""
        changes = {
            "first_name": first_name,
            "last_name": last_name,
            "description": description,
            "organization": organization,
            "name": username,
            "email": email,
            "service_roles": list(service_roles or ()),
            "projects": [{"project": place.project, "roles": place.roles} for place in projects or ()],
        }
        body = json.dumps({key: value for key, value in changes.items() if value})
        return self._user("user_update", name, body=body, options=reqkwargs)

    def get_user(self, name: str, **reqkwargs: Unpack[RequestOptions]) -> AmsUser:
        return self._user("user_get", name, options=reqkwargs)

    def get_user_by_token(self, token: str, **reqkwargs: Unpack[RequestOptions]) -> AmsUser:
        return self._user("user_get_by_token", token, options=reqkwargs)

    def get_user_by_uuid(self, uuid: str, **reqkwargs: Unpack[RequestOptions]) -> AmsUser:
        return self._user("user_get_by_uuid", uuid, options=reqkwargs)

    def get_user_profile(self, **reqkwargs: Unpack[RequestOptions]) -> AmsUser:
        """Return whose token this service uses."""
        return self._user("user_get_profile", options=reqkwargs)

    def list_users(
        self, details: bool = True, page_size: int = 0, next_page_token: str = "", **reqkwargs: Unpack[RequestOptions]
    ) -> AmsUserPage:
        """Return a page of users, newest first; page size 0 is all of them. `details` adds their projects."""
        page = {"details": details, "pageSize": page_size, "pageToken": next_page_token}
        reqkwargs["params"] = {**page, **(reqkwargs.get("params") or {})}
        answer = self._call("users_list", options=reqkwargs)
        users = cast("list[dict[str, Any]]", field(answer, "users", "users_list"))
        return AmsUserPage(
            users=[AmsUser().load_from_dict(user) for user in users],
            total_size=cast("int", field(answer, "totalSize", "users_list")),
            next_page_token=cast("str", field(answer, "nextPageToken", "users_list")),
        )

    def delete_user(self, name: str, **reqkwargs: Unpack[RequestOptions]) -> None:
        self._call("user_delete", name, options=reqkwargs)

    def refresh_user_token(self, name: str, **reqkwargs: Unpack[RequestOptions]) -> AmsUser:
        """Return the user with a new token; the old one is worth nothing from now on."""
        return self._user("user_refresh_token", name, options=reqkwargs)

    def add_project_member(
        self,
        username: str,
        project: str | None = None,
        roles: Sequence[str] | None = None,
        **reqkwargs: Unpack[RequestOptions],
    ) -> AmsUser:
        """Give an existing user roles in a project. Raises `AmsServiceException` (409) for a member."""
        body = json.dumps({"roles": list(roles or ())})
        return self._user("project_add_member", self._or_own(project), username, body=body, options=reqkwargs)

    def create_project_member(
        self,
        username: str,
        project: str | None = None,
        roles: Sequence[str] | None = None,
        email: str | None = None,
        **reqkwargs: Unpack[RequestOptions],
    ) -> AmsUser:
        """Create a user who is a member of one project, and return it with its token."""
        name = self._or_own(project)
        user = AmsUser(projects=[AmsUserProject(project=name, roles=list(roles or ()))], email=email or "")
        return self._user("project_create_member", name, username, body=user.to_json(), options=reqkwargs)

    def get_project_member(
        self, username: str, project: str | None = None, **reqkwargs: Unpack[RequestOptions]
    ) -> AmsUser:
        return self._user("project_get_member", self._or_own(project), username, options=reqkwargs)

    def remove_project_member(self, username: str, project: str, **reqkwargs: Unpack[RequestOptions]) -> Document:
        """Take a user out of a project; the user stays."""
        return self._call("project_remove_member", project, username, options=reqkwargs)

    def create_project(self, name: str, description: str, **reqkwargs: Unpack[RequestOptions]) -> Document:
        body = json.dumps({"description": description})
        return self._call("project_create", name, body=body, options=reqkwargs)

    def update_project(
        self, name: str, description: str = "", updated_name: str = "", **reqkwargs: Unpack[RequestOptions]
    ) -> Document:
        """Change the description, the name, or both; what is empty stays."""
        changes = {"description": description, "name": updated_name}
        body = json.dumps({key: value for key, value in changes.items() if value})
        return self._call("project_update", name, body=body, options=reqkwargs)

    def get_project(self, name: str, **reqkwargs: Unpack[RequestOptions]) -> Document:
        return self._call("project_get", name, options=reqkwargs)

    def delete_project(self, name: str, **reqkwargs: Unpack[RequestOptions]) -> Document:
        """Delete a project with its topics and subscriptions; its users stay."""
        return self._call("project_delete", name, options=reqkwargs)

    def _user(self, route: str, *names: str, body: str | None = None, options: RequestOptions) -> AmsUser:
        return AmsUser().load_from_dict(self._call(route, *names, body=body, options=options))

    def _or_own(self, project: str | None) -> str:
        return self.project if project is None else project
