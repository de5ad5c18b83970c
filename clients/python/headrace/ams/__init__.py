"""The ARGO Messaging API with the names of `argo-ams-library`: change one import.

    from headrace.ams import ArgoMessagingService, AmsMessage

On top of it come connections that are kept alive, `http://` for development, a list of servers, publishes that are
stored once however often they are sent, and shared subscriptions.
"""

from headrace.ams.errors import (
    AmsBalancerException,
    AmsConnectionException,
    AmsException,
    AmsMessageException,
    AmsServiceException,
    AmsTimeoutException,
)
from headrace.ams.message import AmsMessage
from headrace.ams.requests import AmsHttpRequests
from headrace.ams.service import ArgoMessagingService
from headrace.ams.shared import SharedPolicy
from headrace.ams.subscription import AmsSubscription
from headrace.ams.topic import AmsTopic
from headrace.ams.users import AmsUser, AmsUserPage, AmsUserProject

__all__ = [
    "AmsBalancerException",
    "AmsConnectionException",
    "AmsException",
    "AmsHttpRequests",
    "AmsMessage",
    "AmsMessageException",
    "AmsServiceException",
    "AmsSubscription",
    "AmsTimeoutException",
    "AmsTopic",
    "AmsUser",
    "AmsUserPage",
    "AmsUserProject",
    "ArgoMessagingService",
    "SharedPolicy",
]
