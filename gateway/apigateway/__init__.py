"""API Gateway WebSocket APIs and the management API `@connections`, as AWS has them (docs/apigateway.md)."""
