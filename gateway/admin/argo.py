"""What the reference says of ARGO's routes that need no example: a line each. Pure.

The ones that a newcomer tries first are written out in `openapi`. `tests/gateway/admin/test_openapi.py` holds both to
what is served.
"""

from collections.abc import Iterator
from dataclasses import dataclass

_LINES = """
Service        GET    /status                                                     Tell how the service is.
Service        GET    /version                                                    Tell what runs here.
Service        GET    /metrics                                                    Show the nodes' processor and memory.
Service        GET    /metrics/va_metrics                                         Report on projects over some days.
Service        GET    /users/usageReport                                          Report on the caller's own projects.
Users          GET    /users                                                      List the users, newest first.
Users          GET    /users/profile                                              Show the user whose token this is.
Users          GET    /users/{user}                                               Show a user.
Users          POST   /users/{user}                                               Create a user with a new token.
Users          PUT    /users/{user}                                               Change a user.
Users          DELETE /users/{user}                                               Delete a user.
Users          POST   /users/{user}:refreshToken                                  Replace a user's token.
Users          GET    /users:byToken/{token}                                      Show the user of a token.
Users          GET    /users:byUUID/{uuid}                                        Show the user of an id.
Registrations  GET    /registrations                                              List who asked for an account.
Registrations  POST   /registrations                                              Ask for an account.
Registrations  GET    /registrations/{uuid}                                       Show a registration.
Registrations  DELETE /registrations/{uuid}                                       Delete a registration.
Registrations  POST   /registrations/{uuid}:accept                                Make the user that was asked for.
Registrations  POST   /registrations/{uuid}:decline                               Decline, with a comment.
Projects       GET    /projects/{project}:metrics                                 Count what a project has.
Members        GET    /projects/{project}/members                                 List a project's members.
Members        GET    /projects/{project}/members/{user}                          Show a member.
Members        POST   /projects/{project}/members/{user}                          Create a user of this project alone.
Members        PUT    /projects/{project}/members/{user}                          Replace a member's roles.
Members        POST   /projects/{project}/members/{user}:add                      Make a user a member.
Members        POST   /projects/{project}/members/{user}:remove                   Take a user out of the project.
Schemas        GET    /projects/{project}/schemas                                 List a project's schemas.
Schemas        GET    /projects/{project}/schemas/{schema}                        Show a schema.
Schemas        POST   /projects/{project}/schemas/{schema}                        Create a schema, json or avro.
Schemas        PUT    /projects/{project}/schemas/{schema}                        Change a schema.
Schemas        DELETE /projects/{project}/schemas/{schema}                        Delete a schema.
Schemas        POST   /projects/{project}/schemas/{schema}:validate               Hold a message against a schema.
Topics         GET    /projects/{project}/topics/{topic}/subscriptions            List a topic's subscriptions.
Topics         POST   /projects/{project}/topics/{topic}:attachSchema             Hold what is published to a schema.
Topics         POST   /projects/{project}/topics/{topic}:detachSchema             Hold it to none.
Topics         GET    /projects/{project}/topics/{topic}:acl                      List who may publish.
Topics         POST   /projects/{project}/topics/{topic}:modifyAcl                Replace who may publish.
Topics         GET    /projects/{project}/topics/{topic}:metrics                  Count what was published.
Subscriptions  GET    /projects/{project}/subscriptions                           List a project's subscriptions.
Subscriptions  GET    {S}                                                         Show a subscription.
Subscriptions  PUT    {S}                                                         Create a subscription.
Subscriptions  DELETE {S}                                                         Delete a subscription.
Subscriptions  POST   {S}:pull                                                    Pull messages.
Subscriptions  POST   {S}:acknowledge                                             Acknowledge messages.
Subscriptions  POST   {S}:modifyAckDeadline                                       Change the deadline, or extend leases.
Subscriptions  GET    {S}:offsets                                                 Tell where the subscription stands.
Subscriptions  POST   {S}:modifyOffset                                            Move the subscription.
Subscriptions  GET    {S}:timeToOffset                                            Find the offset of a time.
Subscriptions  GET    {S}:acl                                                     List who may pull.
Subscriptions  POST   {S}:modifyAcl                                               Replace who may pull.
Subscriptions  GET    {S}:metrics                                                 Count what was pulled.
Subscriptions  POST   {S}:modifyPushConfig                                        Push to an endpoint, or no longer.
Subscriptions  POST   {S}:verifyPushEndpoint                                      Verify the endpoint of a push.
"""

_SUBSCRIPTION = "/projects/{project}/subscriptions/{subscription}"


@dataclass(frozen=True, slots=True)
class Line:
    """`path` begins with `/v1`, `method` is in lower case."""

    tag: str
    method: str
    path: str
    summary: str


def lines() -> Iterator[Line]:
    for text in _LINES.strip().splitlines():
        tag, method, path, summary = text.split(maxsplit=3)
        yield Line(tag, method.lower(), f"/v1{path.replace('{S}', _SUBSCRIPTION)}", summary)
