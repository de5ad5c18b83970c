"""MigratoryData's client API on a Headrace cluster: the blocking publisher of version 5.

    from headrace.migratorydata import MigratoryDataClient, MigratoryDataException, MigratoryDataMessage

The full client of the later generations, with subscriptions and a listener, is
`headrace.migratorydata.client.MigratoryDataClient`. docs/migratorydata.md has both.
"""

from headrace.migratorydata.constants import MessageType, QoS
from headrace.migratorydata.errors import MigratoryDataException
from headrace.migratorydata.messages import MigratoryDataMessage
from headrace.migratorydata.publisher import MigratoryDataClient

NOTIFY_PUBLISH_OK = MigratoryDataClient.NOTIFY_PUBLISH_OK
NOTIFY_PUBLISH_FAILED = MigratoryDataClient.NOTIFY_PUBLISH_FAILED
NOTIFY_PUBLISH_DENIED = MigratoryDataClient.NOTIFY_PUBLISH_DENIED
NOTIFY_PUBLISH_NO_SUBSCRIBER = MigratoryDataClient.NOTIFY_PUBLISH_NO_SUBSCRIBER
NOTIFY_PUBLISH_TIMEOUT = MigratoryDataClient.NOTIFY_PUBLISH_TIMEOUT

__all__ = [
    "NOTIFY_PUBLISH_DENIED",
    "NOTIFY_PUBLISH_FAILED",
    "NOTIFY_PUBLISH_NO_SUBSCRIBER",
    "NOTIFY_PUBLISH_OK",
    "NOTIFY_PUBLISH_TIMEOUT",
    "MessageType",
    "MigratoryDataClient",
    "MigratoryDataException",
    "MigratoryDataMessage",
    "QoS",
]
