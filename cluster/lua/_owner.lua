-- Tells whether a token is the one that holds a duty's lease. A script with an effect that only the owner may have names
-- the lease among its KEYS, in the slot that the effect is in, and does nothing for anyone else. Equality with a random
-- token, never an order: a counter repeats itself after a failover (seen).
local function is_owner(lease, token)
  return redis.call('GET', lease) == token
end
