#!lua
-- Does what a publish does, for the readiness probe: writes, then announces. Where appends are refused (a demoted
-- primary, no memory, a full disk) it is refused too, and nothing is announced.
-- KEYS:    1 a key of the probing node in a slot of the primary
-- ARGV:    1 channel in the same slot, 2 payload, 3 ms to keep the key
-- RETURNS: the number of receivers that this node counted (says nothing about delivery)
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return redis.call('SPUBLISH', ARGV[1], ARGV[2])
