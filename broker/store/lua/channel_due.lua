#!lua flags=allow-oom
-- Gives out the clients to look at now, each to one caller: it comes up again only if that caller does not say when.
-- KEYS:    1 due (zset: client id by ms at which to look at it)
-- ARGV:    1 most clients, 2 ms until they come up again
-- RETURNS: the score that they have now, then the clients
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local again = string.format('%.0f', now + ARGV[2])
local answer = { again }
for _, client in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  redis.call('ZADD', KEYS[1], again, client)
  answer[#answer + 1] = client
end
return answer
