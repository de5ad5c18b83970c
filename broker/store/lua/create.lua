#!lua
-- Creates a topic. All its keys exist from here on: with an absent key, a script that names it would be refused with
-- TRYAGAIN for as long as the slot migrates. After a deletion the epoch goes on from the tombstone.
-- KEYS:    1 log (stream), 2 meta (hash), 3 once (hash)
-- ARGV:    1 nonce (a repeated call finds its own work), 2 most messages, 3 most bytes, 4 most age ms ('': inherited)
-- RETURNS: nil when the topic exists; else its info as in `describe`
-- include: _epoch
-- include: _ids
-- include: _state
local meta = redis.call('HMGET', KEYS[2], 'next', 'epoch', 'nonce')
if meta[1] then
  return meta[3] == ARGV[1] and topic_info()
end
local clock = redis.call('TIME')
local created = int(clock[1] * 1000 + math.floor(clock[2] / 1000))
local last, last_epoch = redis.call('EXISTS', KEYS[1]) == 1 and last_id(), 0
if last then
  last_epoch = split_id(last)
end
local replid = replication_id(redis.call('INFO', 'replication'))
local epoch = mint_epoch(tonumber(meta[2] or 0), last_epoch, replid)
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('XGROUP', 'CREATE', KEYS[1], 'none', '0', 'MKSTREAM')
redis.call('XGROUP', 'DESTROY', KEYS[1], 'none')
redis.call('HSET', KEYS[3], 'v', '1')
redis.call('HSET', KEYS[2], 'epoch', epoch, 'next', '0', 'replid', replid, 'chain', epoch .. ':0', 'time', '0',
  'bytes', '0', 'created', created, 'nonce', ARGV[1],
  'max_messages', ARGV[2], 'max_bytes', ARGV[3], 'max_age_ms', ARGV[4])
return topic_info()
