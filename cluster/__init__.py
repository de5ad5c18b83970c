"""What connects a node to Redis and, through it, to its peers."""
