"""Push deliveries: what a subscription receives, sent to its endpoint by HTTP."""
