"""What every room of the gateway is given: the node's services, built once in `__main__`."""

from collections.abc import Callable
from dataclasses import dataclass

from broker.accounts import Accounts
from broker.catalog import Catalog
from broker.consumers import Consumers
from broker.hub import Hub
from broker.publish import Publisher
from broker.schema_catalog import SchemaCatalog
from broker.subscriptions import Subscriptions
from gateway.auth import Authenticator
from gateway.config import Config
from gateway.metrics import Metrics
from gateway.outgoing import Outgoing
from gateway.pushes import Pushes


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    config: Config
    hub: Hub
    publisher: Publisher
    catalog: Catalog
    subscriptions: Subscriptions
    consumers: Consumers
    accounts: Accounts
    schemas: SchemaCatalog
    pushes: Pushes
    outgoing: Outgoing
    auth: Authenticator
    metrics: Metrics
    now_ms: Callable[[], int]
    """The wall clock, Unix milliseconds."""
