"""Who may use which route: the row's name held against the caller (contract ams.md 2)."""

from broker.errors import Forbidden
from broker.names import ProjectName
from broker.rights import Principal

WITH_ANY_RIGHT = frozenset({"projects:list", "projects:show", "topics:list", "topics:show"})
"""What a JWT with any right in the project may use besides publishing, which its patterns decide."""


def require_role(caller: Principal, name: str, project: ProjectName) -> None:
    """Raise `Forbidden` unless the caller may use the route `name` in `project` (empty where the path names none)."""
    if name not in WITH_ANY_RIGHT and not caller.operator:
        raise Forbidden(f"The token does not grant {name}.")
