#!lua flags=allow-oom
-- Deletes a topic, announces its end, and leaves a tombstone: meta with the epoch, from which a topic of the same name
-- will go on. It expires when that epoch's seconds are long past, so that the clock alone is above it.
-- KEYS:    1 log (stream), 2 meta (hash), 3 once (hash)
-- ARGV:    1 live channel, 2 seconds to keep the tombstone, 3 nonce (a repeated call finds its own work)
-- RETURNS: 1, or 0 when there is no such topic
-- include: _epoch
-- include: _ids
local END = 1

local meta = redis.call('HMGET', KEYS[2], 'epoch', 'next', 'deleted')
if not meta[2] then
  return meta[3] == ARGV[3] and 1 or 0
end
local epoch = tonumber(meta[1])
local seconds = tonumber(redis.call('TIME')[1])
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
redis.call('HSET', KEYS[2], 'epoch', meta[1], 'deleted', ARGV[3])
redis.call('EXPIREAT', KEYS[2], int(math.max(seconds, math.floor(epoch / SPAN)) + ARGV[2]))
local packed = cmsgpack.pack({ END, epoch, meta[2] - 1 })
redis.call('SPUBLISH', ARGV[1], struct.pack('>I4', #packed) .. packed)
return 1
