"""What a node speaks to the world: one room a contract, composed in `__main__`."""
