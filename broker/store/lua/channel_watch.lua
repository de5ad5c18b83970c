#!lua
-- Says when to look at a client next. An earlier look that somebody wants stays.
-- KEYS:    1 due (zset: client id by ms at which to look at it)
-- ARGV:    1 client, 2 ms at which to look (0: no more), 3 the score that its looker was given ('': none, and the time
--          counts from now)
-- RETURNS: 1
if ARGV[3] == '' then
  local clock = redis.call('TIME')
  local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
  redis.call('ZADD', KEYS[1], 'LT', string.format('%.0f', now + ARGV[2]), ARGV[1])
elseif tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or -1) == tonumber(ARGV[3]) then
  if ARGV[2] == '0' then
    redis.call('ZREM', KEYS[1], ARGV[1])
  else
    redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
  end
end
return 1
