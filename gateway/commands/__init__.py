"""What the command line does, one command a file. Only `gateway.cli` knows the words and options that are typed."""
