"""The WebSocket side: handshakes, sockets with their limits and times, error frames."""
