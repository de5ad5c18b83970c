#!lua flags=allow-oom
-- Claims entries of a gone node's directory for one survivor, for a while: each is in one hand at a time, and one whose
-- survivor dies too is claimed again.
-- KEYS:    1 connections (hash), 2 claims (hash: connection to '<token> <ms until which it holds>')
-- ARGV:    1 token, 2 ms that a claim lasts, 3 about how many entries, 4 cursor ('0': from the beginning)
-- RETURNS: the cursor to go on with ('0': all were looked at), and a flat list of connections and records claimed
local STEPS = 20

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local claim = string.format('%s %.0f', ARGV[1], now + ARGV[2])
local cursor, claimed = ARGV[4], {}

local function is_claimed(connection)
  local held = redis.call('HGET', KEYS[2], connection)
  return held and tonumber(string.match(held, ' (%d+)$')) > now
end

for _ = 1, STEPS do
  local found = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', ARGV[3])
  cursor = found[1]
  for at = 1, #found[2], 2 do
    local connection = found[2][at]
    if not is_claimed(connection) then
      redis.call('HSET', KEYS[2], connection, claim)
      claimed[#claimed + 1] = connection
      claimed[#claimed + 1] = found[2][at + 1]
    end
  end
  if cursor == '0' or #claimed >= 2 * ARGV[3] then
    break
  end
end
return { cursor, claimed }
