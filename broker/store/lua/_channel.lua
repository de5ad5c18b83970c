-- Included by the scripts of App Engine channels. One client id has a log of messages and a hash beside it, in one
-- slot; both have a time to live, so nothing is left of a channel that nobody uses. Needs `_epoch` and `_ids`.
-- KEYS:    1 queue (stream of the client's messages: time ms, message), 2 state (hash). Its fields:
--            epoch, next, replid, chain   as in a topic's meta (`_epoch`)
--            bytes      of the queue's messages
--            newest     the number of the newest connection
--            base       the first number of its page, which has gone on from connection to connection since
--            cursor     'epoch-offset': what was delivered to the newest connection
--            present    a nonce while the client counts as connected, '' else
--            due        ms at which it counts as gone, '' while a connection lives
--            sequence   how many presence events there were
--            l<name>    a connection: 'number until-ms cursor node'
--            e<number>  a presence event not known to be told: 'kind nonce claimed-until-ms'
--            t<topic>   the last position of a bound topic that stands in the queue; '' before the first
-- ARGV:    none of its own
-- RETURNS: nothing, it defines functions
local CLAIM_MS, TRIM_STEP, MAX_TRIMS, MAX_EVENTS = 60000, 32, 400, 50

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local state, links, topics, events

local function set(field, value)
  state[field] = value
  redis.call('HSET', KEYS[2], field, value)
end

local function keep(ms)
  if redis.call('PTTL', KEYS[2]) < ms then
    redis.call('PEXPIRE', KEYS[2], int(ms))
  end
end

local function position()
  return state.epoch .. '-' .. int(state.next - 1)
end

local function clear_queue()
  redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)
  set('bytes', '0')
  set('cursor', position())
end

-- Of a client that comes and goes while nobody can be told, the latest events are kept.
local function add_event(kind)
  local number = int(state.sequence + 1)
  set('sequence', number)
  redis.call('HSET', KEYS[2], 'e' .. number, kind .. ' ' .. state.present .. ' ' .. int(now + CLAIM_MS))
  redis.call('HDEL', KEYS[2], 'e' .. int(number - MAX_EVENTS))
  events[#events + 1] = { kind, state.present, tonumber(number) }
end

-- Connections whose time is over are none; the client is gone when the last of them has been gone for its while.
local function drop_expired(strict)
  local left, last = 0, 0
  for name, link in pairs(links) do
    if link.ends <= now then
      redis.call('HDEL', KEYS[2], 'l' .. name)
      links[name], last = nil, math.max(last, link.ends)
    else
      left = left + 1
    end
  end
  if left == 0 and state.present ~= '' then
    if state.due == '' then
      set('due', int(last > 0 and last or now))
    end
    if tonumber(state.due) <= now then
      add_event('disconnected')
      set('present', '')
      set('due', '')
      if strict then
        clear_queue()
      end
    end
  end
end

-- Reads the state; false when there is none.
local function open_state(strict)
  local flat = redis.call('HGETALL', KEYS[2])
  if #flat == 0 then
    return false
  end
  state, links, topics, events = {}, {}, {}, {}
  for at = 1, #flat, 2 do
    local name, value = flat[at], flat[at + 1]
    local kind, rest = string.sub(name, 1, 1), string.sub(name, 2)
    if kind == 'l' then
      local number, ends, cursor, node = string.match(value, '^(%d+) (%d+) (%S+) (.*)$')
      links[rest] = { number = tonumber(number), ends = tonumber(ends), cursor = cursor, node = node }
    elseif kind == 't' then
      topics[rest] = value
    else
      state[name] = value
    end
  end
  state.epoch, state.next = current_epoch(state.epoch, state.next, state.replid)
  if redis.call('EXISTS', KEYS[1]) == 0 then
    state.bytes = '0'
  end
  drop_expired(strict)
  return true
end

local function create_state()
  local replid = replication_id(redis.call('INFO', 'replication'))
  local last, last_epoch = redis.call('EXISTS', KEYS[1]) == 1 and last_id(), 0
  if last then
    last_epoch = split_id(last)
  end
  local epoch = mint_epoch(0, last_epoch, replid)
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[2], 'epoch', epoch, 'next', '0', 'replid', replid, 'chain', epoch .. ':0', 'bytes', '0',
    'newest', '0', 'base', '0', 'cursor', epoch .. '--1', 'present', '', 'due', '', 'sequence', '0')
end

local function write_link(name)
  local link = links[name]
  redis.call('HSET', KEYS[2], 'l' .. name,
    int(link.number) .. ' ' .. int(link.ends) .. ' ' .. link.cursor .. ' ' .. link.node)
end

-- What was delivered over a connection counts for the client when that is its newest.
local function deliver_to(name, cursor)
  if cursor ~= '' then
    links[name].cursor = cursor
    if links[name].number >= tonumber(state.newest) then
      set('cursor', cursor)
    end
  end
end

-- Removes the oldest messages beyond the bounds, a bounded number a call.
local function trim(most, most_bytes, oldest)
  local count, bytes = redis.call('XLEN', KEYS[1]), tonumber(state.bytes)
  for _ = 1, MAX_TRIMS do
    local found, removed, following = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', TRIM_STEP), {}, nil
    for _, entry in ipairs(found) do
      if count > most or bytes > most_bytes or tonumber(entry[2][2]) < oldest then
        removed[#removed + 1] = entry[1]
        count, bytes = count - 1, bytes - #entry[2][4]
      else
        following = entry[1]
        break
      end
    end
    if #removed > 0 then
      redis.call('XDEL', KEYS[1], unpack(removed))
    end
    if following or #found < TRIM_STEP then
      break
    end
  end
  set('bytes', int(bytes))
end
