"""A chat's back end for an API Gateway WebSocket API, written by AWS's documentation alone.

Nothing here knows where it runs. The endpoint of the management API comes from the environment, as AWS's SDKs read it:
AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI, beside AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_DEFAULT_REGION.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import boto3

Event = dict[str, Any]

DATABASE = os.environ.get("CHAT_DATABASE", "chat.sqlite")
"""Who is connected; at AWS this would be a DynamoDB table."""

MAX_NAME_CHARS, MAX_TEXT_CHARS = 40, 2000


def handler(event: Event, context: object) -> Event:
    """What the API's routes call."""
    routes = {"$connect": connect, "$disconnect": disconnect, "sendmessage": send_message}
    return routes.get(event["requestContext"]["routeKey"], explain)(event)


def connect(event: Event) -> Event:
    name = (event.get("queryStringParameters") or {}).get("name", "").strip()
    if not name:
        return {"statusCode": 400, "body": "Say who you are: ?name="}
    with connections() as table:
        table.execute(
            "INSERT INTO connections VALUES (?, ?)", (event["requestContext"]["connectionId"], name[:MAX_NAME_CHARS])
        )
    return {"statusCode": 200}


def disconnect(event: Event) -> Event:
    connection_id = event["requestContext"]["connectionId"]
    name = name_of(connection_id)
    forget(connection_id)
    if name is not None:
        post_to_all({"left": name})
    return {"statusCode": 200}


def send_message(event: Event) -> Event:
    text = str(json.loads(event["body"]).get("data", ""))
    post_to_all({"from": name_of(event["requestContext"]["connectionId"]), "text": text[:MAX_TEXT_CHARS]})
    return {"statusCode": 200}


def explain(event: Event) -> Event:
    """Answer a message that no other route takes."""
    usage = json.dumps({"error": 'Send {"action": "sendmessage", "data": "..."}.'})
    client().post_to_connection(ConnectionId=event["requestContext"]["connectionId"], Data=usage)
    return {"statusCode": 200}


def post_to_all(message: dict[str, object]) -> None:
    management = client()
    with connections() as table:
        connection_ids = [connection_id for (connection_id,) in table.execute("SELECT id FROM connections")]
    for connection_id in connection_ids:
        try:
            management.post_to_connection(ConnectionId=connection_id, Data=json.dumps(message))
        except management.exceptions.GoneException:
            forget(connection_id)


def name_of(connection_id: str) -> str | None:
    with connections() as table:
        found = table.execute("SELECT name FROM connections WHERE id = ?", (connection_id,)).fetchone()
    return found[0] if found else None


def forget(connection_id: str) -> None:
    with connections() as table:
        table.execute("DELETE FROM connections WHERE id = ?", (connection_id,))


def client() -> Any:
    return boto3.client("apigatewaymanagementapi")


@contextmanager
def connections() -> Iterator[sqlite3.Connection]:
    """The table of connections, for one transaction."""
    with closing(sqlite3.connect(DATABASE, timeout=10)) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS connections (id TEXT PRIMARY KEY, name TEXT)")
        yield database
