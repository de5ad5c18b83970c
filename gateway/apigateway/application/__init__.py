"""The application behind a stage: authorizers, route selection, integrations, events as AWS sends them."""
