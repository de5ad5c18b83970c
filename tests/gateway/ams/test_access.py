"""Who may use which route."""

import pytest

from broker.errors import Forbidden
from broker.names import ProjectName
from broker.rights import Principal
from gateway.ams.access import require_role

PROJECT = ProjectName("p")


def test_an_operator_may_do_everything() -> None:
    require_role(Principal("@service", operator=True), "topics:create", PROJECT)


def test_a_right_in_the_project_shows_and_lists() -> None:
    caller = Principal("a", publish=("p/*",))
    require_role(caller, "topics:list", PROJECT)
    with pytest.raises(Forbidden):
        require_role(caller, "topics:create", PROJECT)
