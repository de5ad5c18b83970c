#!lua
-- Creates a subscription and its consumer group on a topic's log. All its keys exist from here on.
-- KEYS:    1 log (stream), 2 meta (hash), 3 sub (hash), 4 due (zset), 5 leases (hash)
-- ARGV:    1 the consumer group's name, 2 nonce (a repeated call finds its own work), 3 kind, 4 settings as packed,
--          5 ack deadline s, 6 most outstanding, 7 ordering: '=' and the attribute or '', 8 epoch of the place to begin
--          after, '' for the end, 9 its offset
-- RETURNS: 0, 2 or 3 as in `_subscription`; else info as in `describe_subscription`
-- include: _epoch
-- include: _ids
-- include: _subscription
-- include: _place
-- include: _subscription_info
local held = redis.call('HGET', KEYS[3], 'nonce')
if held then
  return held == ARGV[2] and subscription_info((open(nil))) or EXISTS
end
local meta = redis.call('HMGET', KEYS[2], 'epoch', 'next', 'replid', 'nonce')
if not meta[2] then
  return GONE
end
local epoch, next_offset = current_epoch(meta[1], meta[2], meta[3])
local offset = next_offset - 1
if ARGV[8] ~= '' then
  offset = tonumber(ARGV[9])
  if not is_place(ARGV[8], offset, next_offset) then
    return OUTSIDE
  end
end
redis.call('HSET', KEYS[3], 'kind', ARGV[3], 'settings', ARGV[4], 'deadline_s', ARGV[5], 'outstanding', ARGV[6],
  'order', ARGV[7], 'nonce', ARGV[2], 'created', int(now_ms()), 'born', meta[4], 'trimmed', '0', 'expired', '0',
  'restarts', '0', 'restarted', '0', 'delivered', '0', 'bytes', '0')
forget_pending({ generation = -1 }, offset)
return subscription_info((open(nil)))
