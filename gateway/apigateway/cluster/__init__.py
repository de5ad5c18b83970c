"""Every connection from every node: ids that name their owner, letters to it, and the end that each is owed."""
