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

local function numbers(packed)
  local found = {}
  for field in string.gmatch(packed, '%S+') do
    found[#found + 1] = tonumber(field)
  end
  return found
end

-- ---------------------------------------------------------------- cells
-- A cell is a hash: "total" has used, reserved and maybe; "by:CONTRIBUTOR" has version, used,
-- reserved and whether that is maybe; "others:CONTRIBUTOR" what it knew of others before a loss.
-- Each cell is read and written once.

local contributor = ask.contributor
local cells = {} -- {name: cell}

local function cell_key(name)
  return root .. ':cell:' .. name
end

local function read_use(packed)
  local f = numbers(packed)
  return { version = f[1], used = { f[2], f[3] }, reserved = { f[4], f[5] }, is_maybe = f[6] == 1 }
end

local function cell_of(name)
  local found = cells[name]
  if not found then
    local packed = redis.call('HMGET', cell_key(name), 'total', 'by:' .. contributor, 'has_others')
    local f = packed[1] and numbers(packed[1]) or { 0, 0, 0, 0, 0, 0 }
    found = {
      used = { f[1], f[2] }, reserved = { f[3], f[4] }, maybe = { f[5], f[6] },
      by = {}, changed = {}, has_others = packed[3] ~= false,
    }
    found.by[contributor] = packed[2] and read_use(packed[2])
    cells[name] = found
  end
  return found
end

local function use_of(name, who)
  local cell = cell_of(name)
  if cell.by[who] == nil then
    local packed = redis.call('HGET', cell_key(name), 'by:' .. who)
    cell.by[who] = packed and read_use(packed)
  end
  return cell.by[who] or nil
end

local function change(name, who, own) -- and the total of the cell
  local cell = cell_of(name)
  cell.by[who], cell.changed[who], cell.is_changed = own, true, true
end

local function save(name)
  local cell = cells[name]
  if cell and cell.is_changed then
    local fields = {
      'total', string.format('%.0f %.0f %.0f %.0f %.0f %.0f', cell.used[1], cell.used[2],
        cell.reserved[1], cell.reserved[2], cell.maybe[1], cell.maybe[2]),
    }
    for who in pairs(cell.changed) do
      local own = cell.by[who]
      fields[#fields + 1] = 'by:' .. who
      fields[#fields + 1] = string.format('%.0f %.0f %.0f %.0f %.0f %d', own.version,
        own.used[1], own.used[2], own.reserved[1], own.reserved[2], own.is_maybe and 1 or 0)
    end
    redis.call('HSET', cell_key(name), unpack(fields))
    cell.changed, cell.is_changed = {}, false
  end
  if cell and cell.keep_s then
    redis.call('EXPIRE', cell_key(name), cell.keep_s)
    cell.keep_s = nil
  end
end

local function open_key(who) -- the cells in which something of it is reserved
  return root .. ':open:' .. who
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

local function move(who, is_maybe)
  for _, name in ipairs(redis.call('SMEMBERS', open_key(who))) do
    local own, cell = use_of(name, who), cell_of(name)
    if own and own.is_maybe ~= is_maybe then
      if is_maybe then
        cell.reserved = less(cell.reserved, own.reserved)
        cell.maybe = add(cell.maybe, own.reserved)
      else
        cell.maybe = less(cell.maybe, own.reserved)
        cell.reserved = add(cell.reserved, own.reserved)
      end
      own.is_maybe = is_maybe
      change(name, who, own)
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

local process = process_of(ask.process)
local opens_in_s = math.max(0, opens_at - now)
local ledger = root .. ':ledger:' .. contributor
local known = redis.call('HMGET', ledger, 'version', 'stamp', 'is_ended')
local version, stamp = tonumber(known[1] or '0'), tonumber(known[2] or '0')
local is_ended = known[3] == '1'
local verdicts = {}

local function note_lost(name)
  save(name)
  local others, used, reported, missing = {}, {}, NONE, NONE
  local fields = redis.call('HGETALL', cell_key(name))
  for position = 1, #fields, 2 do
    local kind, who = string.match(fields[position], '^(%l+):(.*)$')
    local f = kind and numbers(fields[position + 1])
    if kind == 'by' then
      used[who] = { f[2], f[3] }
      reported = who == LOST and reported or add(reported, used[who])
    elseif kind == 'others' then
      others[who] = { f[1], f[2] }
      redis.call('HDEL', cell_key(name), fields[position])
    end
  end
  redis.call('HDEL', cell_key(name), 'has_others')
  for who, amount in pairs(others) do
    local lacks = add(less(amount, reported), used[who] or NONE)
    missing = above(lacks, missing) and lacks or missing
  end
  local cell = cell_of(name)
  local lost = use_of(name, LOST) or { version = 0, used = NONE, reserved = NONE }
  cell.has_others = false
  if above(missing, lost.used) then
    cell.used = add(cell.used, less(missing, lost.used))
    lost.used = missing
  end
  change(name, LOST, lost)
end

local opened, closed = {}, {} -- {cell: whether something is reserved now, or was}

local function report(use)
  local name = use.cell
  local cell, own = cell_of(name), use_of(name, contributor)
  cell.keep_s = use.keep_s
  if not is_none(use.others) then
    redis.call('HSET', cell_key(name), 'has_others', 1, 'others:' .. contributor,
      string.format('%.0f %.0f', use.others[1], use.others[2]))
    cell.has_others = true
  end
  if own and ask.version < own.version then
    return
  end
  own = own or { used = NONE, reserved = NONE, is_maybe = false }
  cell.used = add(cell.used, less(use.used, own.used))
  cell.reserved = add(cell.reserved, use.reserved)
  if own.is_maybe then
    cell.maybe = less(cell.maybe, own.reserved)
  else
    cell.reserved = less(cell.reserved, own.reserved)
  end
  if is_none(use.reserved) then
    closed[name] = not is_none(own.reserved) or nil
  else
    opened[name] = true
  end
  change(name, contributor,
    { version = ask.version, used = use.used, reserved = use.reserved, is_maybe = false })
end

local function decide(want)
  for position, need in ipairs(want) do
    local cell, own = cell_of(need.cell), use_of(need.cell, contributor)
    local is_in = is_ended or (own and own.version > ask.version)
    need.amount = is_in and NONE or need.amount
    if above(add(cell.used, need.amount), need.most) then
      return position - 1
    end
  end
  for _, need in ipairs(want) do
    if not is_none(need.amount) then
      local name, cell = need.cell, cell_of(need.cell)
      local own = use_of(name, contributor)
        or { version = ask.version, used = NONE, reserved = NONE, is_maybe = false }
      own.used, own.reserved = add(own.used, need.amount), add(own.reserved, need.amount)
      cell.used, cell.reserved = add(cell.used, need.amount), add(cell.reserved, need.amount)
      cell.keep_s = need.keep_s
      opened[name], closed[name] = true, nil
      change(name, contributor, own)
    end
  end
  return -1
end

local function note_open()
  for command, names in pairs({ SADD = opened, SREM = closed }) do
    for name in pairs(names) do
      redis.call(command, open_key(contributor), name)
    end
  end
end

local names, is_named = {}, {}
local function note_cell(name)
  if not is_named[name] then
    is_named[name], names[#names + 1] = true, name
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
    for _, name in ipairs(names) do
      if cell_of(name).has_others then
        note_lost(name)
      end
    end
    for _, want in ipairs(ask.wants) do
      verdicts[#verdicts + 1] = decide(want)
    end
  end
  note_open()
  if ask.leaves then
    end_process(ask.process)
    if ask.is_last and not is_ended and redis.call('SCARD', open_key(contributor)) == 0 then
      redis.call('HSET', ledger, 'is_ended', '1')
      for _, use in ipairs(ask.uses) do
        save(use.cell)
        redis.call('HDEL', cell_key(use.cell), 'by:' .. contributor) -- the totals keep it
        cell_of(use.cell).by[contributor] = false
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
for position, name in ipairs(names) do
  local cell, own = cell_of(name), use_of(name, contributor)
  found[position] = { name, cell.used, cell.reserved, cell.maybe, own and own.used or NONE }
end
for name in pairs(cells) do
  save(name)
end
return cmsgpack.pack({
  epoch, text(opens_in_s), verdicts, found, text(version), text(stamp),
  redis.call('HLEN', processes),
})
