"""What a call to `@connections` speaks to, by the path before it (contracts/apigateway 1). Pure.

An endpoint may have any path. The path of a stage leads to the connections of that stage alone, and so does its name
where no other stage has it: back ends post to `https://{domainName}/{stage}` (contracts/apigateway 10). Any other path
leads to those of all stages, and then the caller's policy must allow the call for each of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from gateway.apigateway.application.policies import MANAGE_CONNECTIONS, Policy, connections_arn
from gateway.apigateway.configuration.settings import ApiGateway
from gateway.apigateway.management.throttle import Throttle
from gateway.apigateway.ports import Stage

MAX_POST_BYTES = 131_072
"""What AWS takes (contracts/apigateway 2), where no API says otherwise."""

NOWHERE = Stage("", "")
"""Stands for the stages of a node that has none: a policy must allow everything to reach it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reach:
    """The stages that a call may concern; one, or all."""

    stages: Sequence[Stage]
    message_bytes: int
    throttles: Sequence[Throttle] = ()

    @property
    def within(self) -> Stage | None:
        """The only stage; None where there are several."""
        return self.stages[0] if len(self.stages) == 1 else None

    def allows(self, policy: Policy, method: str, connection: str, *, region: str, account: str) -> bool:
        """Tell whether `policy` allows the call for every stage that it may concern."""
        return all(
            policy.allows(
                MANAGE_CONNECTIONS,
                connections_arn(
                    region=region,
                    account=account,
                    api=stage.api,
                    stage=stage.name,
                    method=method,
                    connection=connection,
                ),
            )
            for stage in self.stages or (NOWHERE,)
        )


class Reaches:
    """The reach of every path."""

    def __init__(self, section: ApiGateway, throttles: Mapping[str, Throttle]) -> None:
        """`throttles` are those of the APIs, by name."""
        self._by_path: dict[bytes, Reach] = {}
        stages: list[Stage] = []
        for api in section.apis:
            for deployed in api.stages:
                stages.append(Stage(api.name, deployed.name))
                self._by_path[deployed.path.encode()] = Reach(
                    stages=(stages[-1],),
                    message_bytes=api.limits.message_bytes,
                    throttles=_present(throttles, [api.name]),
                )
        names = [stage.name for stage in stages]
        for reach in list(self._by_path.values()):
            name = reach.stages[0].name
            if names.count(name) == 1:
                self._by_path.setdefault(f"/{name}".encode(), reach)
        self._all = Reach(
            stages=tuple(stages),
            message_bytes=max((api.limits.message_bytes for api in section.apis), default=MAX_POST_BYTES),
            throttles=_present(throttles, [api.name for api in section.apis]),
        )

    def of(self, raw_prefix: bytes) -> Reach:
        """Return what calls below this path reach."""
        known = self._by_path.get(raw_prefix)
        return known or self._by_path.get(unquote_to_bytes(raw_prefix).rstrip(b"/"), self._all)


def _present(throttles: Mapping[str, Throttle], names: Sequence[str]) -> tuple[Throttle, ...]:
    return tuple(throttles[name] for name in names if name in throttles)
