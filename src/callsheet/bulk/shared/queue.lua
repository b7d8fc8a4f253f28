-- The queue of a shared run on a server: each operation in one script, which is safe to repeat.
-- It does what core.py does, where the rules are; tests compare the two.
--
-- KEYS, all with the hash tag of the run:
--   card     hash    epoch, state, settings, holder, most (deliveries of a row) and so on
--   rows     stream  k, b: key and body of a row, until it is answered; group "workers"
--   answers  stream  k, b, w, d: key, body, worker and deliveries, until it is stored
--   keys     hash    key of a row: "r" and the id of its row, or "a", the id of its answer,
--                    a blank and the worker that answered
--   leases   sorted set of workers by the end of their leases
--   reports  hash    worker: its latest report
--   late     set     "entry worker": the worker may still answer a row that it has lost
-- ARGV: operation, time in ms ("" for that of the server), milliseconds to keep the keys, and
-- what the operation needs.

local card, rows, answers, keys = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local leases, reports, late = KEYS[5], KEYS[6], KEYS[7]
local operation, keep_ms = ARGV[1], ARGV[3]
local GROUP, BACK = 'workers', '-'
local LEASE_MS, MOST_STEP_MS, MOST_DELIVERIES = 10000, 5000, 5  -- the last one by default

local call = redis.call
local epoch = call('HGET', card, 'epoch')  -- false: not known; '': forgotten
local counted  -- the time of the queue, in ms

local function whole(number)
  return string.format('%.0f', number)
end

local function time_ms()
  if ARGV[2] ~= '' then
    return tonumber(ARGV[2])
  end
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function tick()
  local known = call('HMGET', card, 'now', 'last')
  local time = time_ms()
  counted = known[1] + math.min(math.max(time - known[2], 0), MOST_STEP_MS)
  call('HSET', card, 'now', whole(counted), 'last', whole(time))
end

local function renew()
  for _, key in ipairs(KEYS) do
    call('PEXPIRE', key, keep_ms)
  end
end

local function wake(what)  -- 'rows' or 'answers'
  call('PUBLISH', card .. ':' .. what, '')
end

local function state()
  return epoch and call('HGET', card, 'state') or ''
end

local function entry_of(id)
  return epoch .. '/' .. id
end

local function id_of(entry)  -- nil for another epoch
  local begin = epoch .. '/'
  if string.sub(entry, 1, #begin) == begin then
    return string.sub(entry, #begin + 1)
  end
  return nil
end

local function is_held_by(holder)
  if not epoch or epoch == '' then
    return false
  end
  tick()
  return call('HGET', card, 'holder') == holder
end

local function lives(worker)  -- renews its lease
  if not epoch or epoch == '' then
    return false
  end
  tick()
  call('ZADD', leases, whole(counted + LEASE_MS), worker)
  return true
end

local function pending(id)  -- returns the worker of a row and its deliveries
  local found = call('XPENDING', rows, GROUP, id, id, 1)[1]
  if found then
    return found[2], found[4]
  end
  return nil, 0
end

local function pending_of(worker, count)
  return call('XPENDING', rows, GROUP, '-', '+', count or 1000000000, worker)
end

local function taken(entries)  -- what a worker gets; entries: {id, fields, deliveries}
  local reply = {state(), epoch or ''}
  for _, one in ipairs(entries) do
    reply[#reply + 1] = entry_of(one[1])
    reply[#reply + 1] = one[2][2]
    reply[#reply + 1] = one[2][4]
    reply[#reply + 1] = one[3]
  end
  return reply
end

local function keep(key, body, worker, deliveries)  -- an answer; returns its id
  local id = call('XADD', answers, '*', 'k', key, 'b', body, 'w', worker,
    'd', math.max(deliveries, 1))
  call('HSET', keys, key, 'a' .. id .. ' ' .. worker)
  call('HSET', card, 'answer', id)
  return id
end

local function drop_row(id)
  call('XACK', rows, GROUP, id)
  call('XDEL', rows, id)
end

local function drop_unsent()  -- rows that no worker has, or has had
  for _, one in ipairs(call('XRANGE', rows, '-', '+')) do
    local worker, deliveries = pending(one[1])
    if deliveries == 0 and (not worker or worker == BACK) then
      drop_row(one[1])
      call('HDEL', keys, one[2][2])
    end
  end
end

local function drop_worker(worker)
  call('ZREM', leases, worker)
  call('HDEL', reports, worker)
  call('XGROUP', 'DELCONSUMER', rows, GROUP, worker)
end

local function clear()
  call('DEL', rows, answers, keys, leases, reports, late)
  call('HDEL', card, 'holder', 'until', 'settings', 'session', 'number', 'answer', 'over',
    'twice', 'parked')
end

local function claim(other, worker, room, given)
  local most = tonumber(call('HGET', card, 'most') or MOST_DELIVERIES)
  while #given < room do
    local found = pending_of(other, room - #given)
    if #found == 0 then
      return
    end
    for _, one in ipairs(found) do
      local id, deliveries = one[1], one[4]
      if other ~= BACK then
        call('SADD', late, entry_of(id) .. ' ' .. other)
      end
      if deliveries >= most then
        local fields = call('XRANGE', rows, id, id)[1][2]
        call('HINCRBY', card, 'parked', 1)
        drop_row(id)
        keep(fields[2], '', '', deliveries)
        wake('answers')
      else
        local row = call('XCLAIM', rows, GROUP, worker, 0, id)[1]
        if deliveries > 0 then
          call('HINCRBY', card, 'over', 1)
        end
        given[#given + 1] = {row[1], row[2], deliveries + 1}
      end
    end
  end
end

local does = {}

-- holder, settings, lease in ms, epoch to begin, most deliveries of a row
function does.hold(holder, settings, lease_ms, fresh)
  if not epoch or epoch == '' then
    clear()
    epoch = fresh
    call('HSET', card, 'epoch', fresh, 'state', 'ended', 'holder', '', 'until', 0,
      'now', 0, 'last', whole(time_ms()))
    call('XGROUP', 'CREATE', rows, GROUP, '0', 'MKSTREAM')
  end
  tick()
  local known = call('HMGET', card, 'holder', 'until')
  if known[1] ~= '' and known[1] ~= holder and tonumber(known[2]) > counted then
    return {0, known[1], epoch}
  end
  if known[1] ~= holder then
    call('HSET', card, 'holder', holder, 'settings', settings, 'state', 'running',
      'most', ARGV[8])
    if ARGV[8] == '1' then
      drop_unsent()
    end
    wake('rows')
  end
  call('HSET', card, 'until', whole(counted + lease_ms))
  renew()
  return {1, holder, epoch}
end

-- holder, session, number, then key and body of each row
function does.put(holder, session, number)
  if not is_held_by(holder) then
    return 0
  end
  local last = call('HMGET', card, 'session', 'number')
  if last[1] == session and tonumber(number) <= tonumber(last[2]) then
    return 1
  end
  call('HSET', card, 'session', session, 'number', number)
  local summary = call('XPENDING', rows, GROUP)
  local in_hand = summary[1]
  for _, one in ipairs(summary[4] or {}) do
    if one[1] == BACK then
      in_hand = in_hand - one[2]
    end
  end
  local had_none = call('XLEN', rows) == in_hand
  for i = 7, #ARGV, 2 do
    if call('HEXISTS', keys, ARGV[i]) == 0 then
      local id = call('XADD', rows, '*', 'k', ARGV[i], 'b', ARGV[i + 1])
      call('HSET', keys, ARGV[i], 'r' .. id)
    end
  end
  if had_none then
    wake('rows')
  end
  renew()
  return 1
end

-- entry of the last row that was read, count
function does.left(after, count)
  if not epoch or epoch == '' then
    return taken({})
  end
  local found = {}
  local id = after ~= '' and id_of(after) or '0-0'
  for _, one in ipairs(call('XRANGE', rows, '(' .. id, '+', 'COUNT', count)) do
    local _, deliveries = pending(one[1])
    found[#found + 1] = {one[1], one[2], deliveries}
  end
  return taken(found)
end

-- holder, then keys
function does.withdraw(holder)
  if not is_held_by(holder) then
    return {}
  end
  local removed = {}
  for i = 5, #ARGV do
    local known = call('HGET', keys, ARGV[i])
    if known and string.sub(known, 1, 1) == 'r' then
      local id = string.sub(known, 2)
      local worker = pending(id)
      if not worker or worker == BACK then
        drop_row(id)
        call('HDEL', keys, ARGV[i])
        known = false
      end
    end
    if not known then
      removed[#removed + 1] = ARGV[i]
    end
  end
  return removed
end

-- entry of the last answer that was read, count
function does.answers(after, count)
  if not epoch or epoch == '' then
    return {}
  end
  local id = after ~= '' and id_of(after) or '0-0'
  local found = call('XREAD', 'COUNT', count, 'STREAMS', answers, id)
  local reply = {}
  for _, one in ipairs(found and found[1][2] or {}) do
    local fields = one[2]
    reply[#reply + 1] = entry_of(one[1])
    for i = 2, 8, 2 do
      reply[#reply + 1] = fields[i]
    end
  end
  return reply
end

-- holder, then entries
function does.stored(holder)
  if not is_held_by(holder) then
    return 0
  end
  for i = 5, #ARGV do
    local id = id_of(ARGV[i])
    local found = id and call('XRANGE', answers, id, id)[1]
    if found then
      local known = call('HGET', keys, found[2][2])
      if known and string.match(known, '^a(%d+%-%d+) ') == id then
        call('HDEL', keys, found[2][2])
      end
      call('XDEL', answers, id)
    end
  end
  return 1
end

-- holder, state
function does.change(holder, new)
  if not is_held_by(holder) then
    return 0
  end
  call('HSET', card, 'state', new)
  wake('rows')
  return 1
end

-- holder, '1' to forget everything
function does.finish(holder, forget)
  if not is_held_by(holder) then
    if not epoch then
      return 0
    end
    local left = forget == '1' and epoch or forget ~= '1' and call('HGET', card, 'holder') or ''
    return left == '' and 1 or 0
  end
  call('HSET', card, 'holder', '', 'until', 0)
  if forget == '1' then
    clear()
    call('HSET', card, 'state', 'ended', 'epoch', '', 'holder', '', 'until', 0)
    wake('rows')
  end
  renew()
  return 1
end

-- worker, count
function does.take(worker, count)
  if not lives(worker) then
    return taken({})
  end
  local given = {}
  count = tonumber(count)
  if state() == 'running' then
    local ended = call('ZRANGEBYSCORE', leases, '-inf', whole(counted))
    claim(BACK, worker, count, given)
    for _, other in ipairs(ended) do
      if other ~= worker then
        claim(other, worker, count, given)
        if #pending_of(other, 1) == 0 then
          drop_worker(other)
        end
      end
    end
    if #given < count then
      local fresh = call('XREADGROUP', 'GROUP', GROUP, worker, 'COUNT', count - #given,
        'STREAMS', rows, '>')
      for _, one in ipairs(fresh and fresh[1][2] or {}) do
        given[#given + 1] = {one[1], one[2], 1}
      end
    end
  end
  renew()
  return taken(given)
end

-- worker
function does.own(worker)
  local given = {}
  if lives(worker) then
    for _, one in ipairs(pending_of(worker)) do
      given[#given + 1] = {one[1], call('XRANGE', rows, one[1], one[1])[1][2], one[4]}
    end
  end
  return taken(given)
end

-- worker, report, then entries
function does.beat(worker, report)
  local lost = {}
  if not lives(worker) then
    for i = 6, #ARGV do
      lost[#lost + 1] = ARGV[i]
    end
    return {state(), epoch or '', 0, '', 0, lost}
  end
  call('HSET', reports, worker, report)
  local own, count = {}, 0
  for _, one in ipairs(pending_of(worker)) do
    own[one[1]] = true
    count = count + 1
  end
  for i = 6, #ARGV do
    if own[id_of(ARGV[i]) or ''] then
      count = count - 1
    else
      lost[#lost + 1] = ARGV[i]
    end
  end
  local first = call('XRANGE', answers, '-', '+', 'COUNT', 1)[1]
  local before = first and first[1]
  if not before then  -- after the last one
    local ms, number = string.match(call('HGET', card, 'answer') or '0-0', '(%d+)-(%d+)')
    before = ms .. '-' .. whole(number + 1)
  end
  local held = call('HMGET', card, 'holder', 'until')
  local is_held = held[1] ~= '' and tonumber(held[2]) > counted
  renew()
  return {state(), epoch, count > 0 and 1 or 0, entry_of(before), is_held and 1 or 0, lost}
end

-- worker, then entry, key and body of each answer
function does.answer(worker)
  local reply = {}
  if not lives(worker) then
    if not epoch then
      return false
    end
    for _ = 5, #ARGV, 3 do
      reply[#reply + 1] = ''
    end
    return reply
  end
  for i = 5, #ARGV, 3 do
    local entry, key, body = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    local known = call('HGET', keys, key)
    local mark = entry .. ' ' .. worker
    local own = ''
    local is_late = true
    if known and string.sub(known, 1, 1) == 'r' then
      local id = string.sub(known, 2)
      local other, deliveries = pending(id)
      if other and other ~= BACK and other ~= worker then
        call('SADD', late, entry_of(id) .. ' ' .. other)
        if not id_of(entry) then
          deliveries = deliveries + 1  -- since the queue was lost both have it
        end
      end
      call('SREM', late, mark)
      drop_row(id)
      own, is_late = entry_of(keep(key, body, worker, deliveries)), false
    else
      local id, other = string.match(known or '', '^a(%d+%-%d+) (.*)$')
      if other == worker then
        own, is_late = entry_of(id), false
      elseif not id_of(entry) then  -- no delivery tells of it
        own, is_late = entry_of(keep(key, body, worker, 1)), false
      end
    end
    if is_late and call('SREM', late, mark) == 1 then
      call('HINCRBY', card, 'twice', 1)
    end
    reply[#reply + 1] = own
  end
  wake('answers')
  renew()
  return reply
end

-- worker, then entries
function does.give_back(worker)
  if lives(worker) then
    for i = 5, #ARGV do
      local id = id_of(ARGV[i])
      if id then
        local other, deliveries = pending(id)
        if other == worker then
          call('XCLAIM', rows, GROUP, BACK, 0, id, 'RETRYCOUNT', deliveries - 1, 'JUSTID')
        end
      end
    end
    wake('rows')
  end
  return 1
end

-- worker
function does.leave(worker)
  if lives(worker) then
    for _, one in ipairs(pending_of(worker)) do
      call('XCLAIM', rows, GROUP, BACK, 0, one[1], 'JUSTID')
      call('SADD', late, entry_of(one[1]) .. ' ' .. worker)
    end
    drop_worker(worker)
    wake('rows')
  end
  return 1
end

function does.card()
  if not epoch then
    return {}
  end
  local live, taken_rows, waiting = {}, 0, 0
  local known
  if epoch ~= '' then
    tick()
    for _, worker in ipairs(call('ZRANGEBYSCORE', leases, '(' .. whole(counted), '+inf')) do
      live[#live + 1] = worker
      live[#live + 1] = call('HGET', reports, worker) or ''
    end
    for _, one in ipairs(call('XPENDING', rows, GROUP)[4] or {}) do
      if one[1] ~= BACK then
        taken_rows = taken_rows + one[2]
      end
    end
    waiting = call('XLEN', rows) - taken_rows
  end
  known = call('HMGET', card, 'settings', 'holder', 'until', 'over', 'twice', 'parked')
  local holder = known[2] or ''
  if holder ~= '' and tonumber(known[3]) <= counted then
    holder = ''
  end
  return {state(), known[1] or '', epoch, holder, waiting, taken_rows, call('XLEN', answers),
    known[4] or '0', known[5] or '0', known[6] or '0', live}
end

return does[operation](unpack(ARGV, 4, math.min(#ARGV, 7)))
