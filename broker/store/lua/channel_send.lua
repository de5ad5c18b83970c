#!lua
-- Appends messages to a client's channel. What a bound topic brings is appended once, whichever nodes bring it: its
-- last position that stands in the queue is kept beside it.
-- KEYS:    1 queue (stream), 2 state (hash): see `_channel`
-- ARGV:    1 '1': nothing is kept for who is away, 2 ms that messages are kept, 3 most messages, 4 most bytes,
--          5 topic ('': none), 6 its position before these, 7 its position after all that was looked at,
--          then each message, behind its position where there is a topic
-- RETURNS: nil when there is no such channel, or nobody is connected and nothing is kept; else the position in the
--          topic that stands in the queue now ('': no topic), and the nodes of the connections
-- include: _epoch
-- include: _ids
-- include: _channel
local strict, topic, most = ARGV[1] == '1', ARGV[5], tonumber(ARGV[3])
if not open_state(strict) or (strict and not next(links)) then
  return false
end
local at, step = 8, 1

-- An offset may be -1: the place before a log's first entry.
local function place_of(position)
  local epoch, offset = string.match(position, '^(%d+)%-(%-?%d+)$')
  return tonumber(epoch), tonumber(offset)
end

local function is_after(position, other)
  local epoch, offset = place_of(position)
  local other_epoch, other_offset = place_of(other)
  return epoch > other_epoch or (epoch == other_epoch and offset > other_offset)
end

local stored = topic ~= '' and topics[topic]
if topic ~= '' then
  step = 2
  if not stored then
    return false
  end
  if stored ~= '' and ARGV[6] ~= '' and is_after(ARGV[6], stored) then
    -- What lies between was not seen: whoever brings this must begin where the queue is.
    return { stored }
  end
end
local bytes = 0
while at <= #ARGV do
  if step == 1 or stored == '' or is_after(ARGV[at], stored) then
    local message = ARGV[at + step - 1]
    redis.call('XADD', KEYS[1], state.epoch .. '-' .. int(state.next), 't', int(now), 'm', message)
    state.next, bytes = state.next + 1, bytes + #message
  end
  at = at + step
end
if topic ~= '' and (stored == '' or is_after(ARGV[7], stored)) then
  redis.call('HSET', KEYS[2], 't' .. topic, ARGV[7])
  stored = ARGV[7]
end
if bytes > 0 then
  set('next', int(state.next))
  state.bytes = int(state.bytes + bytes)
  trim(most, tonumber(ARGV[4]), now - ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  keep(ARGV[2] + 60000)
end
local answer, known = { stored or '' }, {}
for _, link in pairs(links) do
  if not known[link.node] then
    known[link.node] = true
    answer[#answer + 1] = link.node
  end
end
return answer
