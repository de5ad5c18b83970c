#!lua flags=allow-oom
-- Ends a client's connection. The client counts as gone a while later, unless it has another connection by then.
-- KEYS:    1 queue (stream), 2 state (hash): see `_channel`
-- ARGV:    1 name, 2 its cursor ('': as it was), 3 ms until the client counts as gone (0: now), 4 '1': nothing is kept
--          for who is away
-- RETURNS: ms at which the client counts as gone (0: it has another connection, or was not connected), the node that
--          had the connection ('': it was not known), and events: {kind, nonce, number} each
-- include: _epoch
-- include: _ids
-- include: _channel
local strict = ARGV[4] == '1'
if not open_state(strict) then
  return { 0, '', {} }
end
local link = links[ARGV[1]]
if not link then
  return { tonumber(state.due) or 0, '', events }
end
deliver_to(ARGV[1], ARGV[2])
redis.call('HDEL', KEYS[2], 'l' .. ARGV[1])
links[ARGV[1]] = nil
if not next(links) then
  set('due', int(now + ARGV[3]))
  drop_expired(strict)
end
return { state.present ~= '' and tonumber(state.due) or 0, link.node, events }
