"""Server-sent events: a topic as a stream that a browser's `EventSource` follows and resumes by itself."""
