"""The room of our own protocol: `protocol/realtime.md` is its contract."""
