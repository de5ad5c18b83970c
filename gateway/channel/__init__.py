"""The App Engine Channel API (contracts/channel.md): tokens, delivery, presence, and the transports of its pages."""
