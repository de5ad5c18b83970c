-- Included by scripts that move leases. Needs `_epoch` and `_subscription`.
-- KEYS:    1 log, 4 due, 5 leases
-- ARGV:    1 the consumer group's name
-- RETURNS: nothing, it defines functions
-- The pending list says which messages are not settled, `due` when each may be given out (again), `leases` what a token
-- must equal. The pending list's own delivery counter repeats after a failover and is not used. One message of an
-- ordering key is on its way at a time; the others are linked behind it, in no deadline.
local done, done_members = {}, {}

local function read_record(record)
  local epoch, time, attempt, key, token = string.match(record, '^(%d+):(%d+):(%d+):(%x*):(.*)$')
  return { epoch = epoch, time = time, attempt = tonumber(attempt), key = key, token = token }
end

local function write_record(record)
  return record.epoch .. ':' .. record.time .. ':' .. int(record.attempt) .. ':' .. record.key .. ':' .. record.token
end

-- Queues a message behind its key's others: true when it is its turn at once.
local function take_turn(key, member)
  local tail = redis.call('HGET', KEYS[5], 'k' .. key)
  redis.call('HSET', KEYS[5], 'k' .. key, member)
  if tail then
    redis.call('HSET', KEYS[5], 'n' .. tail, member)
  end
  return not tail
end

-- Ends a message's turn: the next of its key falls due. Answers how many fewer are held back.
local function end_turn(key, member, now)
  local following = redis.call('HGET', KEYS[5], 'n' .. member)
  if not following then
    redis.call('HDEL', KEYS[5], 'k' .. key)
    return 0
  end
  redis.call('HDEL', KEYS[5], 'n' .. member)
  redis.call('ZADD', KEYS[4], int(now), following)
  return 1
end

-- Forgets a message, in `flush_done` at the latest.
local function forget(id, member)
  done[#done + 1], done_members[#done_members + 1] = id, member
end

-- Forgets a message whose turn it was. Answers how many fewer are held back.
local function finish(member, record, now)
  forget(record.epoch .. '-' .. int(tonumber(member)), member)
  return record.key == '' and 0 or end_turn(record.key, member, now)
end

local function flush_done()
  if #done > 0 then
    redis.call('XACK', KEYS[1], ARGV[1], unpack(done))
    redis.call('ZREM', KEYS[4], unpack(done_members))
    redis.call('HDEL', KEYS[5], unpack(done_members))
    done, done_members = {}, {}
  end
end
