-- Shared budgets on a server: the same as `SharedBudgets` in core.py, which says what each step does.
-- KEYS[1]: the state. All keys begin with it; they have one hash tag.
-- ARGV[1]: the question as msgpack. ARGV[2]: the name of a new state. ARGV[3]: the time in seconds,
-- or "" for that of the server.
--
-- Money is a pair: whole dollars, and picodollars from 0 to 1e12 - 1. Each is exact as a double.
local UNIT = 1000000000000
local LEASE_S, REBUILD_S, LOST = 10, 3, 'lost'
local KEEP_S = 400 * 24 * 3600 -- of the state, and of the version of a ledger
local OPEN_S = 40 * 24 * 3600

local root = KEYS[1]
local ask = cmsgpack.unpack(ARGV[1])
local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local function add(a, b)
  local low = a[2] + b[2]
  if low >= UNIT then
    return { a[1] + b[1] + 1, low - UNIT }
  end
  return { a[1] + b[1], low }
end

local function less(a, b) -- a - b
  local low = a[2] - b[2]
  if low < 0 then
    return { a[1] - b[1] - 1, low + UNIT }
  end
  return { a[1] - b[1], low }
end

local function above(a, b)
  return a[1] > b[1] or (a[1] == b[1] and a[2] > b[2])
end

local function is_none(a)
  return a[1] == 0 and a[2] == 0
end

local NONE = { 0, 0 }

-- A number with all its digits, also one that is no whole number.
local function text(number)
  return string.format('%.17g', number)
end

local function pack(...)
  local fields = { ... }
  for position, field in ipairs(fields) do
    fields[position] = type(field) == 'table' and text(field[1]) .. ' ' .. text(field[2])
      or (type(field) == 'number' and text(field) or field)
  end
  return table.concat(fields, ' ')
end

local function unpack_numbers(packed)
  local found = {}
  for field in string.gmatch(packed, '%S+') do
    found[#found + 1] = tonumber(field)
  end
  return found
end

-- ---------------------------------------------------------------- cells

local function cell_key(name)
  return root .. ':cell:' .. name
end

local totals = {} -- {cell: {used, reserved, maybe}}, as they are in the server

local function total_of(name)
  local found = totals[name]
  if not found then
    local packed = redis.call('HGET', cell_key(name), 'total')
    if packed then
      local f = unpack_numbers(packed)
      found = { used = { f[1], f[2] }, reserved = { f[3], f[4] }, maybe = { f[5], f[6] } }
    else
      found = { used = NONE, reserved = NONE, maybe = NONE }
    end
    totals[name] = found
  end
  return found
end

local function save_total(name)
  local found = totals[name]
  redis.call('HSET', cell_key(name), 'total', pack(found.used, found.reserved, found.maybe))
end

local function use_of(name, contributor)
  local packed = redis.call('HGET', cell_key(name), 'by:' .. contributor)
  if not packed then
    return nil
  end
  local f = unpack_numbers(packed)
  return { version = f[1], used = { f[2], f[3] }, reserved = { f[4], f[5] }, is_maybe = f[6] == 1 }
end

local function save_use(name, contributor, own)
  redis.call('HSET', cell_key(name), 'by:' .. contributor,
    pack(own.version, own.used, own.reserved, own.is_maybe and 1 or 0))
end

local function open_key(contributor)
  return root .. ':open:' .. contributor
end

-- ---------------------------------------------------------------- processes

local processes, leases = root .. ':processes', root .. ':leases'

local function process_of(name)
  local packed = redis.call('HGET', processes, name)
  if not packed then
    return nil
  end
  local number, contributor = string.match(packed, '^(%S+) (.*)$')
  return { number = tonumber(number), contributor = contributor }
end

local function move(contributor, is_maybe)
  for _, name in ipairs(redis.call('SMEMBERS', open_key(contributor))) do
    local own = use_of(name, contributor)
    if own and own.is_maybe ~= is_maybe then
      local total = total_of(name)
      if is_maybe then
        total.reserved = less(total.reserved, own.reserved)
        total.maybe = add(total.maybe, own.reserved)
      else
        total.maybe = less(total.maybe, own.reserved)
        total.reserved = add(total.reserved, own.reserved)
      end
      own.is_maybe = is_maybe
      save_use(name, contributor, own)
      save_total(name)
    end
  end
end

local function end_process(name)
  local process = process_of(name)
  redis.call('HDEL', processes, name)
  redis.call('ZREM', leases, name)
  if process then
    local left = redis.call('HINCRBY', root .. ':live', process.contributor, -1)
    if left <= 0 then
      redis.call('HDEL', root .. ':live', process.contributor)
      move(process.contributor, true)
    end
  end
end

-- ---------------------------------------------------------------- the question

local state = redis.call('HMGET', root, 'epoch', 'opens_at')
local epoch, opens_at = state[1], tonumber(state[2] or '0')
if not epoch then
  epoch, opens_at = ARGV[2], now + REBUILD_S
  redis.call('HSET', root, 'epoch', epoch, 'opens_at', text(opens_at))
end
if opens_at > now + REBUILD_S then
  opens_at = now + REBUILD_S
  redis.call('HSET', root, 'opens_at', text(opens_at))
end
redis.call('EXPIRE', root, KEEP_S)

local late = redis.call('ZRANGEBYSCORE', leases, '(' .. text(now + LEASE_S), '+inf')
for _, name in ipairs(late) do -- the clock went back
  redis.call('ZADD', leases, text(now + LEASE_S), name)
end
for _, name in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', text(now))) do
  end_process(name)
end

local contributor = ask.contributor
local process = process_of(ask.process)
local opens_in_s = math.max(0, opens_at - now)
local ledger = root .. ':ledger:' .. contributor
local known = redis.call('HMGET', ledger, 'version', 'stamp', 'is_ended')
local version, stamp = tonumber(known[1] or '0'), tonumber(known[2] or '0')
local is_ended = known[3] == '1'
local verdicts = {}

local function note_lost(name)
  local others, reported, found = {}, NONE, false
  local fields = redis.call('HGETALL', cell_key(name))
  local used = {}
  for position = 1, #fields, 2 do
    local kind, who = string.match(fields[position], '^(%l+):(.*)$')
    local f = kind and unpack_numbers(fields[position + 1])
    if kind == 'by' then
      used[who] = { f[2], f[3] }
      if who ~= LOST then
        reported = add(reported, used[who])
      end
    elseif kind == 'others' then
      others[who], found = { f[1], f[2] }, true
      redis.call('HDEL', cell_key(name), fields[position])
    end
  end
  if found then
    local missing = NONE
    for who, amount in pairs(others) do
      local lacks = add(less(amount, reported), used[who] or NONE)
      if above(lacks, missing) then
        missing = lacks
      end
    end
    redis.call('HDEL', cell_key(name), 'has_others')
    local lost = use_of(name, LOST) or { version = 0, used = NONE, reserved = NONE }
    if above(missing, lost.used) then
      local total = total_of(name)
      total.used = add(total.used, less(missing, lost.used))
      lost.used = missing
      save_total(name)
    end
    save_use(name, LOST, lost)
  end
end

local function report(use)
  local name = use.cell
  if not is_none(use.others) then
    redis.call('HSET', cell_key(name), 'others:' .. contributor, pack(use.others), 'has_others', 1)
  end
  local own = use_of(name, contributor)
  if not own or ask.version >= own.version then
    own = own or { used = NONE, reserved = NONE, is_maybe = false }
    local total = total_of(name)
    total.used = add(total.used, less(use.used, own.used))
    total.reserved = add(total.reserved, use.reserved)
    if own.is_maybe then
      total.maybe = less(total.maybe, own.reserved)
    else
      total.reserved = less(total.reserved, own.reserved)
    end
    save_total(name)
    save_use(name, contributor,
      { version = ask.version, used = use.used, reserved = use.reserved, is_maybe = false })
    if is_none(use.reserved) then
      redis.call('SREM', open_key(contributor), name)
    else
      redis.call('SADD', open_key(contributor), name)
    end
  end
  redis.call('EXPIRE', cell_key(name), use.keep_s)
end

local function decide(want)
  local adds = {}
  for position, need in ipairs(want) do
    local own = use_of(need.cell, contributor)
    local is_in = is_ended or (own and own.version > ask.version)
    local amount = is_in and NONE or need.amount
    if above(add(total_of(need.cell).used, amount), need.most) then
      return position - 1
    end
    if not is_none(amount) then
      adds[#adds + 1] = { name = need.cell, amount = amount, own = own, keep_s = need.keep_s }
    end
  end
  for _, one in ipairs(adds) do
    local own = one.own
      or { version = ask.version, used = NONE, reserved = NONE, is_maybe = false }
    own.used, own.reserved = add(own.used, one.amount), add(own.reserved, one.amount)
    local total = total_of(one.name)
    total.used, total.reserved = add(total.used, one.amount), add(total.reserved, one.amount)
    save_use(one.name, contributor, own)
    save_total(one.name)
    redis.call('SADD', open_key(contributor), one.name)
    redis.call('EXPIRE', cell_key(one.name), one.keep_s)
  end
  return -1
end

local cells, is_cell = {}, {}
local function note_cell(name)
  if not is_cell[name] then
    is_cell[name], cells[#cells + 1] = true, name
  end
end
for _, use in ipairs(ask.uses) do
  note_cell(use.cell)
end
for _, want in ipairs(ask.wants) do
  for _, need in ipairs(want) do
    note_cell(need.cell)
  end
end
for _, name in ipairs(ask.watched) do
  note_cell(name)
end

if not process or ask.number > process.number then
  redis.call('HSET', processes, ask.process, text(ask.number) .. ' ' .. contributor)
  redis.call('ZADD', leases, text(now + LEASE_S), ask.process)
  if not process then
    redis.call('HINCRBY', root .. ':live', contributor, 1)
    move(contributor, false)
  end
  if not is_ended then
    for _, use in ipairs(ask.uses) do
      report(use)
    end
    if ask.version >= version then
      redis.call('HSET', ledger, 'version', text(ask.version), 'stamp', text(ask.stamp))
    end
  end
  if opens_in_s == 0 and (ask.epoch == '' or ask.epoch == epoch) then
    for _, name in ipairs(cells) do
      if redis.call('HEXISTS', cell_key(name), 'has_others') == 1 then
        note_lost(name)
      end
    end
    for _, want in ipairs(ask.wants) do
      verdicts[#verdicts + 1] = decide(want)
    end
  end
  if ask.leaves then
    end_process(ask.process)
    if ask.is_last and not is_ended and redis.call('SCARD', open_key(contributor)) == 0 then
      redis.call('HSET', ledger, 'is_ended', '1')
      for _, use in ipairs(ask.uses) do
        redis.call('HDEL', cell_key(use.cell), 'by:' .. contributor)
      end
    end
  end
  redis.call('EXPIRE', ledger, KEEP_S)
  redis.call('EXPIRE', open_key(contributor), OPEN_S)
  for _, name in ipairs({ processes, leases, root .. ':live' }) do
    redis.call('EXPIRE', name, OPEN_S)
  end
elseif opens_in_s == 0 then
  opens_in_s = REBUILD_S
end

local found = {}
for position, name in ipairs(cells) do
  local total, own = total_of(name), use_of(name, contributor)
  found[position] = { name, total.used, total.reserved, total.maybe, own and own.used or NONE }
end
return cmsgpack.pack({
  epoch, text(opens_in_s), verdicts, found, text(version), text(stamp),
  redis.call('HLEN', processes),
})
