#!lua
-- Changes fields of hashes, all or none: none where one of them is no longer what the caller saw.
-- KEYS:    1.. hashes, each once, all in one slot
-- ARGV:    four a change: number of its hash, field, the value expected ('': absent), the new value ('': remove)
-- RETURNS: 1, also when all hold their new values already (a repeated call finds its own work); else 0
local expected, done = true, true
for at = 1, #ARGV, 4 do
  local value = redis.call('HGET', KEYS[tonumber(ARGV[at])], ARGV[at + 1]) or ''
  expected = expected and value == ARGV[at + 2]
  done = done and value == ARGV[at + 3]
end
if done then
  return 1
end
if not expected then
  return 0
end
for at = 1, #ARGV, 4 do
  if ARGV[at + 3] == '' then
    redis.call('HDEL', KEYS[tonumber(ARGV[at])], ARGV[at + 1])
  else
    redis.call('HSET', KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 3])
  end
end
return 1
