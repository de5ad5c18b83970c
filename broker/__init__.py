"""What Headrace decides: messages, positions, the log, live fan-out. Knows no socket and no HTTP."""
