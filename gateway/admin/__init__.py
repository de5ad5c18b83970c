"""The operator's pages: the live tail and the HTTP reference, with assets of their own."""
