"""The log's home: one port (`base`), an in-memory reference, and Redis."""
