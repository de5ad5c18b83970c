#!lua flags=allow-oom
-- Opens a client's connection, or renews it: it is alive for a while from now. A new one gets the next number; where
-- there are more than may be, those with the lowest numbers end, and what was replaced does not come back.
-- KEYS:    1 queue (stream), 2 state (hash): see `_channel`
-- ARGV:    1 name, 2 its number ('': a new one), 3 node, 4 ms until it counts as gone, 5 its cursor ('': as it was),
--          6 how many there may be at once, 7 '1': nothing is kept for who is away, 8 ms that the channel lives at
--          least, 9 nonce for presence, should it begin, 10 name of the connection that it goes on from ('': none)
-- RETURNS: nil when it was replaced; else number, cursor, chain, next offset, first ID or '', a flat list of bound
--          topics and positions, a flat list of replaced names and nodes, and events: {kind, nonce, number} each
-- include: _epoch
-- include: _ids
-- include: _state
-- include: _channel
local name, given, strict, most = ARGV[1], tonumber(ARGV[2]), ARGV[7] == '1', tonumber(ARGV[6])
if redis.call('EXISTS', KEYS[2]) == 0 then
  create_state()
end
open_state(strict)
local newest = tonumber(state.newest)
local link, earlier = links[name], links[ARGV[10]]
if not link then
  local least = newest - most + 1
  if ARGV[10] ~= '' then
    -- A page may say with an old number that it comes back, as an EventSource does, while no other page came between.
    least = math.min(least, tonumber(state.base))
  end
  if given and given < least then
    return false
  end
  -- A connection that goes on from another is newer than that.
  link = { number = ARGV[10] == '' and given or newest + 1, cursor = earlier and earlier.cursor or state.cursor }
  links[name] = link
  if not given then
    set('base', int(link.number))
  end
end
if link.number > newest then
  set('newest', int(link.number))
end
link.node, link.ends = ARGV[3], now + ARGV[4]
if state.present == '' then
  set('present', ARGV[9])
  if strict then
    clear_queue()
    link.cursor = state.cursor
  end
  add_event('connected')
end
set('due', '')
deliver_to(name, ARGV[5])
write_link(name)
keep(tonumber(ARGV[8]))
local replaced = {}
for other, older in pairs(links) do
  if other == ARGV[10] or (other ~= name and older.number <= tonumber(state.newest) - most) then
    redis.call('HDEL', KEYS[2], 'l' .. other)
    replaced[#replaced + 1] = other
    replaced[#replaced + 1] = older.node
  end
end
local bound = {}
for topic, at in pairs(topics) do
  bound[#bound + 1] = topic
  bound[#bound + 1] = at
end
local log = log_state()
return { link.number, link.cursor, log[1], log[2], log[3], bound, replaced, events }
