#!lua flags=allow-oom
-- Looks whether a client has gone, and which of its presence events are not known to be told: those are claimed.
-- KEYS:    1 queue (stream), 2 state (hash): see `_channel`
-- ARGV:    1 '1': nothing is kept for who is away
-- RETURNS: ms at which to look again (0: there is nothing to look for), and events: {kind, nonce, number} each
-- include: _epoch
-- include: _ids
-- include: _channel
if not open_state(ARGV[1] == '1') then
  return { 0, {} }
end
local again = math.huge
for field, value in pairs(state) do
  local number = string.match(field, '^e(%d+)$')
  if number then
    local kind, nonce, claimed = string.match(value, '^(%a+) (%S+) (%d+)$')
    claimed = tonumber(claimed)
    if claimed <= now then
      claimed = now + CLAIM_MS
      redis.call('HSET', KEYS[2], field, kind .. ' ' .. nonce .. ' ' .. int(claimed))
      events[#events + 1] = { kind, nonce, tonumber(number) }
    end
    again = math.min(again, claimed)
  end
end
for _, link in pairs(links) do
  again = math.min(again, link.ends)
end
if state.present ~= '' and state.due ~= '' then
  again = math.min(again, tonumber(state.due))
end
if #events > 0 then
  -- It is told no longer than the channel is remembered: nothing prolongs that here.
  again = math.min(again, now + CLAIM_MS)
end
return { again == math.huge and 0 or again, events }
