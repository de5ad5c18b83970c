"""Users as values: what is kept of one, what a change of one may say, and its record's bytes. Pure.

A user belongs to projects by their names, with roles in each, and has roles in the whole service (`broker.roles`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace

import orjson

from broker.errors import CallerError, InvalidRequest
from broker.names import ProjectName, is_argo_name
from broker.roles import PROJECT_ROLES, SERVICE_ROLES

MAX_NAME_CHARS = 255
MAX_TEXT_BYTES = 4096
"""Of each text of a profile."""

MAX_PROJECTS = 1000
"""Projects of one user: bounds what reading a token costs."""

MAX_SHOWN = 80
"""Characters of a wrong name or role that a refusal repeats."""


class UnknownUser(CallerError):
    code = "unknown_user"
    sentence = "The user does not exist."


class UnknownMembers(UnknownUser):
    """Some of several users are no members; the reason names them."""


class AlreadyMember(CallerError):
    code = "already_member"
    sentence = "The user is a member of the project."


class NotMember(CallerError):
    code = "not_member"
    sentence = "The user is no member of the project."


class UnknownRegistration(CallerError):
    code = "unknown_registration"
    sentence = "The registration does not exist."


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a person is called and described by; all texts may be empty."""

    email: str = ""
    first_name: str = ""
    last_name: str = ""
    organization: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """`token_sealed` is the token as the vault keeps it, `token_hash` its SHA-256 in hexadecimal digits.

    `projects` are roles by project, in the order in which they were given. `created_by` is the creator's uuid, empty
    where that was no user. Times are Unix milliseconds.
    """

    uuid: str
    name: str
    profile: Profile = Profile()
    projects: Mapping[ProjectName, tuple[str, ...]] = field(default_factory=dict, hash=False)
    service_roles: tuple[str, ...] = ()
    token_hash: str = ""
    token_sealed: str = ""
    created_ms: int = 0
    modified_ms: int = 0
    created_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserChange:
    """What a create or update says. A text that is empty and a list that is None stay as they are.

    `projects` is as it was sent, so that a repeated name can be refused.
    """

    name: str = ""
    profile: Profile = Profile()
    projects: Sequence[tuple[str, Sequence[str]]] | None = None
    service_roles: Sequence[str] | None = None


def changed(user: User, change: UserChange, *, now_ms: int) -> User:
    """Return `user` after `change`. Raises `InvalidRequest` with the contract's sentences (ams.md 3)."""
    given = {key: text for key, text in asdict(change.profile).items() if text}
    return replace(
        user,
        name=checked_name(change.name) if change.name else user.name,
        profile=checked_profile(replace(user.profile, **given)),
        projects=user.projects if change.projects is None else checked_projects(change.projects),
        service_roles=user.service_roles
        if change.service_roles is None
        else checked_roles(change.service_roles, SERVICE_ROLES),
        modified_ms=now_ms,
    )


def checked_name(name: str) -> str:
    """Return a user's name that ARGO's rule allows. Raises `InvalidRequest`."""
    if not is_argo_name(name) or len(name) > MAX_NAME_CHARS:
        raise InvalidRequest("Invalid user name")
    return name


def checked_profile(profile: Profile) -> Profile:
    for key, text in asdict(profile).items():
        if len(text.encode(errors="replace")) > MAX_TEXT_BYTES:
            raise InvalidRequest(f"{key} has at most {MAX_TEXT_BYTES} bytes")
    return profile


def checked_projects(given: Iterable[tuple[str, Sequence[str]]]) -> dict[ProjectName, tuple[str, ...]]:
    """Return roles by project. Whether the projects exist is asked elsewhere. Raises `InvalidRequest`."""
    projects: dict[ProjectName, tuple[str, ...]] = {}
    for project, roles in given:
        if project in projects:
            raise InvalidRequest(f"duplicate reference of project {project[:MAX_SHOWN]}")
        projects[ProjectName(project)] = checked_roles(roles, PROJECT_ROLES)
    if len(projects) > MAX_PROJECTS:
        raise InvalidRequest(f"A user belongs to at most {MAX_PROJECTS} projects")
    return projects


def checked_roles(roles: Sequence[str], valid: Collection[str]) -> tuple[str, ...]:
    """Return `roles` without repetitions. Raises `InvalidRequest` for one that is not valid here."""
    for role in roles:
        if role not in valid:
            raise InvalidRequest(f"invalid role: {role[:MAX_SHOWN]}")
    return tuple(dict.fromkeys(roles))


def without_project(user: User, project: ProjectName, *, now_ms: int) -> User:
    left = {name: roles for name, roles in user.projects.items() if name != project}
    return replace(user, projects=left, modified_ms=now_ms)


def with_roles(user: User, project: ProjectName, roles: Sequence[str], *, now_ms: int) -> User:
    """Return `user` with these roles in one project. Raises `InvalidRequest`."""
    given = {**user.projects, project: checked_roles(roles, PROJECT_ROLES)}
    if len(given) > MAX_PROJECTS:
        raise InvalidRequest(f"A user belongs to at most {MAX_PROJECTS} projects")
    return replace(user, projects=given, modified_ms=now_ms)


def pack(user: User) -> bytes:
    return orjson.dumps(user)


def read_user(record: bytes) -> User:
    """Return the user of a record that `pack` made; fields of later versions are passed over."""
    document = orjson.loads(record)
    known = {each.name: document[each.name] for each in fields(User) if each.name in document}
    known["profile"] = Profile(**{each.name: document["profile"].get(each.name, "") for each in fields(Profile)})
    known["projects"] = {ProjectName(name): tuple(roles) for name, roles in document["projects"].items()}
    known["service_roles"] = tuple(document["service_roles"])
    return User(**known)
