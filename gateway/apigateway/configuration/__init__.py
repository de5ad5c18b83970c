"""What an operator says of APIs, routes, back ends and access keys, read with every mistake named."""
