#!lua flags=allow-oom
-- Settles leases, each by itself and in order. A token is compared for equality: it names one attempt, in one epoch.
-- KEYS:    1 log (stream), 2 meta (hash), 3 sub (hash), 4 due (zset), 5 leases (hash)
-- ARGV:    1 the consumer group's name, then each settlement: verb ('a' ack, 'n' nack, 'e' extend, 'r' release), offset,
--          token, ms (of a nack's delay or an extension)
-- RETURNS: a refusal as in `_subscription`; else a number each: 0 done, 1 stale token, 2 not pending
-- include: _epoch
-- include: _ids
-- include: _subscription
-- include: _leases
local DONE, STALE, UNKNOWN = 0, 1, 2

local sub, refusal = open('shared')
if not sub then
  return refusal
end
local now, released, answer = now_ms(), 0, {}
local members, held, records, deadlines = {}, {}, {}, {}
for at = 2, #ARGV, 4 do
  members[#members + 1] = padded(tonumber(ARGV[at + 1]))
end
for index, record in ipairs(redis.call('HMGET', KEYS[5], unpack(members))) do
  held[members[index]] = record
end

local function keep(member, record, due)
  held[member] = write_record(record)
  records[member], deadlines[member] = held[member], int(due)
end

local function apply(verb, member, record, ms)
  if verb == 'a' then
    held[member], records[member], deadlines[member] = nil, nil, nil
    released = released + finish(member, record, now)
    return
  end
  if verb == 'r' then
    record.attempt = record.attempt - 1
  end
  if verb ~= 'e' then
    record.token = ''
  end
  keep(member, record, now + ms)
end

local function settle(verb, member, token, ms)
  local generation, epoch = string.match(token, '^%d+%.(%d+)%.(%d+)%.')
  if generation ~= sub.generation or epoch ~= sub.epoch then
    return STALE
  end
  if not held[member] then
    return UNKNOWN
  end
  local record = read_record(held[member])
  if record.token ~= token then
    return STALE
  end
  apply(verb, member, record, ms)
  return DONE
end

for index, member in ipairs(members) do
  local at = index * 4 - 2
  answer[index] = settle(ARGV[at], member, ARGV[at + 2], tonumber(ARGV[at + 3]))
end
flush_done()
local fields, scores = {}, {}
for member, record in pairs(records) do
  fields[#fields + 1], fields[#fields + 2] = member, record
  scores[#scores + 1], scores[#scores + 2] = deadlines[member], member
end
if #fields > 0 then
  redis.call('HSET', KEYS[5], unpack(fields))
  redis.call('ZADD', KEYS[4], unpack(scores))
end
if released > 0 then
  redis.call('HINCRBY', KEYS[3], 'held', -released)
end
return answer
