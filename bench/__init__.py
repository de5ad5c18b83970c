"""Load generators and references: what the node costs, as a ratio to the bare work, in the same run."""
