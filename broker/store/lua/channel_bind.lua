#!lua
-- Makes a client's channel, if there is none, binds topics to it, and lets it live for a while. What is published to a
-- topic after the given position belongs to the channel; one that is bound already goes on where it was.
-- KEYS:    1 queue (stream), 2 state (hash): see `_channel`
-- ARGV:    1 ms to live at least, 2 most topics, then topic and position ('': from its beginning) alternately
-- RETURNS: 1, or 0 when there would be too many topics: then nothing is bound
-- include: _epoch
-- include: _ids
-- include: _channel
if redis.call('EXISTS', KEYS[2]) == 0 then
  create_state()
end
open_state(false)
keep(tonumber(ARGV[1]))
local count = 0
for _ in pairs(topics) do
  count = count + 1
end
for at = 3, #ARGV, 2 do
  if not topics[ARGV[at]] then
    topics[ARGV[at]], count = ARGV[at + 1], count + 1
  end
end
if count > tonumber(ARGV[2]) then
  return 0
end
for at = 3, #ARGV, 2 do
  redis.call('HSETNX', KEYS[2], 't' .. ARGV[at], ARGV[at + 1])
end
return 1
