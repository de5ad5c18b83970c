"""What AWS has not, under `/headrace/v1`: calls about many connections, and groups, which are topics."""
