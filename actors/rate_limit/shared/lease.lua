-- Answers one question about shared limits: what `SharedLimits.ask` in core.py does, with the same
-- operations in the same order. It may run twice for one question.
--
-- KEYS  state, workers (a hash), deaths (a sorted set), places
-- ARGV  the question, the time ("" for that of the server), the epoch of a new state, the channel
--
-- Tables that are lists of numbers and texts are cheap to pack; so records are lists, and their
-- fields have the numbers that are named here.

local WINDOW_S, MOST_WINDOW_S, ALIVE_S, REMEMBERED_S, UNUSED_S, EARLIER_S =
  0.2, 2, 10, 120, 0.25, 0.1
local REFUSALS, REFUSAL_S, IDLE_S, LOST_S = 32, 60, 60, 10
local MOST_IN_LINE, LEAST_PART, SLOT_S, MOST_LOWS, MOST_LEASED = 16, 0.1, 0.05, 16, 16
local TICKS, MOST_TICKS, MOST_LANES, OVERFLOW = 1e6, 1e12, 128, "\0"
local ROUNDS, HELD_S, TURN_S, MOST_PLACES, EPSILON = 8, 3, 1, 1e9, 1e-9
local HINT_S, LONG_S = 0.1, 0.25
local KEPT_S = 3600 -- an idle state is kept as long after its limits are full

local floor, max, min, huge = math.floor, math.max, math.min, math.huge

-- state
local EPOCH, OFFSET, NOW, LOST_AT, TIDIED_AT, SEEN, LIVE, REFUSED, LIMITS, DEMANDS, HAS_PLACES =
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
local KEPT_UNTIL = 12 -- when the other keys expire
-- limit; in line are (until, amount, first call, worker)
local NAME, RATE, DEPTH, FULL_AT, WAS_FULL_AT, IN_LINE, TOUCHED, LOWS, MISSING, MISSED_AT =
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local HINTED = 11 -- when those in line were last told to ask again
-- demand of a scope; from LANE on, a list for all lanes
local SCOPE, USERS, NEED, NEED_OWNER, NEED_AT, LANE, WEIGHT, PRIORITY, TOTAL, CLAIMS, CAME, OWNER =
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
-- worker; claims are (scope, lane, key, weight, ticks)
local NUMBER, AT, IS_LIVE, CLAIMED, SCOPES, LINE, LEASES, PARTS, GIVEN = 1, 2, 3, 4, 5, 6, 7, 8, 9
-- parts are (scope, part, window)
-- places of a scope; from WHO on, a list for all workers
local P_SCOPE, HINTED_AT, WHO, WANTED, TAKEN, P_WEIGHT, TURN_AT, MAY_HAVE = 1, 2, 3, 4, 5, 6, 7, 8

local ask = cmsgpack.unpack(ARGV[1])
local name, number, known, seen = ask[1], ask[2], ask[3], ask[4]
local rates, leases, corrections, lanes = ask[5], ask[6], ask[7], ask[8]
local asked_places, refusals, leaves = ask[9], ask[10], ask[11]

local news, from = false, name -- a process that asks ignores its own news
local places_list, places_changed -- read when they are needed

-- ------------------------------------------------------------------ the state

local packed = redis.call("GET", KEYS[1])
local clock = tonumber(ARGV[2])
if not clock then
  local time = redis.call("TIME")
  clock = tonumber(time[1]) + tonumber(time[2]) / 1e6
end
local state
if packed then
  state = cmsgpack.unpack(packed)
else
  redis.call("DEL", KEYS[2], KEYS[3], KEYS[4])
  state = { ARGV[3], -clock, 0, -huge, 0, 0, 0, {}, {}, {}, 0, 0 }
end
local now = clock + state[OFFSET]
if now < state[NOW] then
  state[OFFSET] = state[OFFSET] + (state[NOW] - now)
  now = state[NOW]
end
state[NOW] = now

local limits, demands = {}, {}
for _, limit in ipairs(state[LIMITS]) do limits[limit[NAME]] = limit end
for _, demand in ipairs(state[DEMANDS]) do demands[demand[SCOPE]] = demand end

local indexes = {} -- {scope: {lane: its index}}
local function index_of(demand)
  local index = indexes[demand[SCOPE]]
  if not index then
    index = {}
    for at, lane in ipairs(demand[LANE]) do index[lane] = at end
    indexes[demand[SCOPE]] = index
  end
  return index
end

-- ------------------------------------------------------------------ buckets

local function used_of(limit)
  return max(0, (limit[FULL_AT] - now) * limit[RATE])
end

local function note_low(limit, low, at)
  if low <= 0 then
    limit[WAS_FULL_AT] = at
    limit[LOWS] = {}
    return
  end
  local lows = limit[LOWS]
  while #lows > 0 and lows[#lows] >= low do
    lows[#lows] = nil
    lows[#lows] = nil
  end
  if #lows > 0 and floor(lows[#lows - 1] / SLOT_S) == floor(at / SLOT_S) then
    lows[#lows - 1] = at
    return
  end
  lows[#lows + 1] = at
  lows[#lows + 1] = low
  if #lows > 2 * MOST_LOWS then
    local found, least = 1, huge
    for index = 1, #lows - 3, 2 do
      local apart = (lows[index + 2] - lows[index]) / (at - lows[index] + SLOT_S)
      if apart < least then
        found, least = index, apart
      end
    end
    lows[found + 3] = min(lows[found + 1], lows[found + 3])
    table.remove(lows, found)
    table.remove(lows, found)
  end
end

-- Returns what is missing when those in line have used what they can by then, and when.
-- Only those count that can be used up before the time `before`.
local function flow(limit, by, notes, before)
  local missing, at, rate = limit[MISSING], limit[MISSED_AT], limit[RATE]
  for _, one in ipairs(limit[IN_LINE]) do
    local until_s, amount, first = one[1], one[2], one[3]
    if before and until_s >= before then break end
    local ends, last, part
    if until_s <= by then
      ends, last = until_s, min(first, amount)
      part = amount - last
    else
      ends, last = by, 0
      part = amount - min(amount, (until_s - by) * rate + first)
    end
    local start = max(at, ends - part / rate)
    missing = max(0, missing - rate * (start - at))
    if notes then note_low(limit, missing, start) end
    missing = max(0, missing + part - rate * (ends - start)) + last
    at = ends
  end
  return missing, at
end

local function advance(limit)
  local missing, at = flow(limit, now, true)
  limit[MISSING] = max(0, missing - limit[RATE] * (now - at))
  limit[MISSED_AT] = now
  local kept = {}
  for _, one in ipairs(limit[IN_LINE]) do
    if one[1] > now then
      one[2] = min(one[2], (one[1] - now) * limit[RATE] + one[3])
      kept[#kept + 1] = one
    end
  end
  limit[IN_LINE] = kept
end

local function project(limit)
  local missing, at = flow(limit, huge)
  limit[FULL_AT] = at + missing / limit[RATE]
end

local function set(limit, rate, depth)
  if rate ~= limit[RATE] then
    advance(limit)
    local ratio = limit[RATE] / rate
    for _, one in ipairs(limit[IN_LINE]) do one[1] = now + (one[1] - now) * ratio end
    limit[RATE] = rate
    project(limit)
  end
  limit[DEPTH] = depth
  limit[TOUCHED] = now
end

local function fill_later(limit, full_at)
  if full_at > limit[FULL_AT] then
    advance(limit)
    local in_line = 0
    for _, one in ipairs(limit[IN_LINE]) do in_line = in_line + one[2] end
    limit[MISSING] = max(limit[MISSING], (full_at - now) * limit[RATE] - in_line)
    project(limit)
  end
end

local function take(limit, amount)
  advance(limit)
  note_low(limit, limit[MISSING], now)
  limit[MISSING] = limit[MISSING] + amount
  project(limit)
end

local function stand(limit, until_s, amount, first)
  local line = limit[IN_LINE]
  local at = #line + 1
  line[at] = { until_s, amount, first, name }
  while at > 1 and line[at - 1][1] > until_s do
    line[at - 1], line[at] = line[at], line[at - 1]
    at = at - 1
  end
  if #line > MOST_LEASED then
    local one, other = table.remove(line, 1), line[1]
    line[1] = { other[1], one[2] + other[2], max(one[3], other[3]), "" }
  end
end

local function needed_of(limit, amount, first)
  return amount <= first and min(first, limit[DEPTH]) or amount
end

local function lease(limit, amount, first, told, held)
  advance(limit)
  local at_once = limit[DEPTH] - used_of(limit)
  note_low(limit, limit[MISSING], now)
  local needed = needed_of(limit, amount, first)
  if amount <= held * (1 + EPSILON) then
    local missing, at = flow(limit, huge, false, told)
    local ahead = limit[DEPTH] - max(0, missing + (at - now) * limit[RATE])
    if now + (needed - ahead) / limit[RATE] <= told + EPSILON then at_once = ahead end
  end
  local in_line = 0
  if at_once < needed then
    in_line = min(amount, needed - at_once + first)
    stand(limit, now + (needed - at_once) / limit[RATE], in_line, first)
  end
  limit[MISSING] = limit[MISSING] + (amount - in_line)
  project(limit)
  return at_once
end

-- Whether a lease leaves room in line that was there before it was returned.
local function gains(limit, amount, first, at_once, told, held)
  local until_s = now + (needed_of(limit, amount, first) - at_once) / limit[RATE]
  return held > 0 and (amount < held * (1 - EPSILON) or until_s < told - EARLIER_S)
end

local function give_back(limit, amount, since)
  advance(limit)
  local lows, least = limit[LOWS], limit[MISSING]
  if limit[WAS_FULL_AT] > since then least = 0 end
  for at = 1, #lows, 2 do
    if lows[at] > since then least = min(least, lows[at + 1]) end
  end
  local given = min(amount, least)
  if given > 0 then
    local lowest, kept = huge, {}
    for at = #lows - 1, 1, -2 do
      local low = lows[at + 1]
      if lows[at] > since then low = low - given end
      if low < lowest then -- else a later one says as much
        lowest = low
        kept[#kept + 1] = low
        kept[#kept + 1] = lows[at]
      end
    end
    limit[LOWS] = {}
    for at = #kept, 1, -1 do limit[LOWS][#kept - at + 1] = kept[at] end
    limit[MISSING] = limit[MISSING] - given
    project(limit)
  end
end

-- Returns what a process leased and has in line; what it keeps of that was used. Returns how much
-- of the amount that was, and the place that is left: until when the first of it could not be used,
-- and how much that was.
local function leave_line(limit, amount)
  advance(limit)
  local left, told, held, used, kept = amount, huge, 0, 0, {}
  local line = limit[IN_LINE]
  for at = #line, 1, -1 do
    local one = line[at]
    if one[4] ~= name then
      kept[#kept + 1] = one
    else
      local gone = min(left, one[2])
      if gone > 0 then told, held = one[1], gone end
      left = left - gone
      used = used + (one[2] - gone)
    end
  end
  if left < amount then
    limit[IN_LINE] = {}
    for at = #kept, 1, -1 do limit[IN_LINE][#kept - at + 1] = kept[at] end
    if used > 0 then
      note_low(limit, limit[MISSING], now)
      limit[MISSING] = limit[MISSING] + used
    end
    project(limit)
  end
  return amount - left, told, held
end

-- Whether one in line could be used earlier than it was told, and must hear that.
local function lets_wait(limit, at_once)
  local missing, at, rate, depth = limit[MISSING], limit[MISSED_AT], limit[RATE], limit[DEPTH]
  if not at_once and at - limit[HINTED] < HINT_S then return false end
  for _, one in ipairs(limit[IN_LINE]) do
    local until_s, amount, first = one[1], one[2], one[3]
    local last = min(first, amount)
    local part = amount - last
    local told = until_s - part / rate
    local full, room = at + missing / rate, max(0, depth - first)
    if told > max(at, full - room / rate) + LONG_S or told > full + EARLIER_S then
      limit[HINTED] = limit[MISSED_AT]
      return true
    end
    local start = max(at, told)
    missing = max(0, missing - rate * (start - at))
    missing = max(0, missing + part - rate * (until_s - start)) + last
    at = until_s
  end
  return false
end

-- ------------------------------------------------------------------ demand by lanes

local function add_claim(claimed, scope, lane, weight, seconds, age_s, priority)
  local demand = demands[scope]
  local index, came, key = index_of(demand), now - age_s, lane
  if not index[key] and #demand[LANE] >= MOST_LANES then key = OVERFLOW end
  local at = index[key]
  if not at then
    at = #demand[LANE] + 1
    index[key] = at
    demand[LANE][at], demand[WEIGHT][at], demand[PRIORITY][at] = key, 0, priority
    demand[TOTAL][at], demand[CLAIMS][at] = 0, 0
    demand[CAME][at], demand[OWNER][at] = came, name
  end
  local weights = demand[WEIGHT]
  weights[at] = key == OVERFLOW and weights[at] + weight or weight
  demand[PRIORITY][at] = priority
  local ticks = min(MOST_TICKS, max(0, floor(seconds * TICKS + 0.5)))
  demand[TOTAL][at] = demand[TOTAL][at] + ticks
  demand[CLAIMS][at] = demand[CLAIMS][at] + 1
  local owner = demand[OWNER][at]
  if ticks > 0 and (came <= demand[CAME][at] or owner == name or owner == "") then
    demand[CAME][at], demand[OWNER][at] = came, name
  end
  local size = #claimed
  claimed[size + 1], claimed[size + 2], claimed[size + 3] = scope, lane, key
  claimed[size + 4], claimed[size + 5] = weight, ticks
end

local function withdraw(who, worker)
  local claimed, scope, demand, index = worker[CLAIMED], nil, nil, nil
  for at = 1, #claimed, 5 do
    if claimed[at] ~= scope then
      scope = claimed[at]
      demand = demands[scope]
      index = index_of(demand)
    end
    local key = claimed[at + 2]
    local lane = index[key]
    demand[TOTAL][lane] = demand[TOTAL][lane] - claimed[at + 4]
    demand[CLAIMS][lane] = demand[CLAIMS][lane] - 1
    if key == OVERFLOW then demand[WEIGHT][lane] = demand[WEIGHT][lane] - claimed[at + 3] end
    if demand[OWNER][lane] == who then demand[OWNER][lane] = "" end
  end
  for _, one in ipairs(worker[SCOPES]) do
    demands[one][USERS] = demands[one][USERS] - 1
  end
end

local function tidy(demand)
  local kept = 0
  local claims, size = demand[CLAIMS], #demand[LANE]
  for at = 1, size do
    if claims[at] > 0 then
      kept = kept + 1
      if kept ~= at then
        for field = LANE, OWNER do demand[field][kept] = demand[field][at] end
      end
    end
  end
  if kept == size then return end
  for at = size, kept + 1, -1 do
    for field = LANE, OWNER do demand[field][at] = nil end
  end
  indexes[demand[SCOPE]] = nil
end

local function forget_unused(scopes)
  for _, scope in ipairs(scopes) do
    local demand = demands[scope]
    if demand then
      tidy(demand)
      if demand[USERS] <= 0 then demands[scope], indexes[scope] = nil, nil end
    end
  end
end

local function window_of(demand)
  return min(MOST_WINDOW_S, max(WINDOW_S, demand[NEED]))
end

local function note_need(demand, need_s)
  if need_s >= demand[NEED] or demand[NEED_OWNER] == name or now - demand[NEED_AT] > HELD_S then
    demand[NEED], demand[NEED_OWNER], demand[NEED_AT] = need_s, name, now
  end
end

-- Fills the lanes of one priority from what is left; returns what is left then.
local function pour(demand, left, waiting, filled)
  local ticks, weight, level = demand[TOTAL], demand[WEIGHT], 0
  for _ = 1, ROUNDS do
    local weights, rest, size = 0, {}, 0
    for index = 1, #waiting do weights = weights + weight[waiting[index]] end
    level = left / weights
    for index = 1, #waiting do
      local lane = waiting[index]
      local wish = ticks[lane] / TICKS
      if wish <= level * weight[lane] then
        filled[lane] = wish
        left = left - wish
      else
        size = size + 1
        rest[size] = lane
      end
    end
    if size == 0 or left <= 0 then return left end
    if size == #waiting then break end
    waiting = rest
  end
  for _, lane in ipairs(waiting) do
    filled[lane] = level * weight[lane]
    left = left - filled[lane]
  end
  return left
end

-- Divides a window among the lanes, the priority with the oldest call first.
local function fill(demand, window_s)
  local classes, order = {}, {}
  for lane, ticks in ipairs(demand[TOTAL]) do
    if ticks > 0 then
      local priority = demand[PRIORITY][lane]
      local class = classes[priority]
      if not class then
        class = { came = huge, priority = priority, lanes = {} }
        classes[priority] = class
        order[#order + 1] = class
      end
      class.lanes[#class.lanes + 1] = lane
      class.came = min(class.came, demand[CAME][lane])
    end
  end
  if #order > 1 then
    table.sort(order, function(one, other)
      if one.came ~= other.came then return one.came < other.came end
      return one.priority > other.priority
    end)
  end
  local filled, left = {}, window_s
  for _, class in ipairs(order) do
    if left > EPSILON then left = pour(demand, left, class.lanes, filled) end
  end
  return filled, window_s - left
end

local function part_of(demand, claimed, window_s)
  local filled, total = fill(demand, window_s)
  local share, index = 0, index_of(demand)
  for at = 1, #claimed, 5 do
    if claimed[at] == demand[SCOPE] and claimed[at + 4] > 0 then
      local lane = index[claimed[at + 2]]
      share = share + (filled[lane] or 0) * claimed[at + 4] / demand[TOTAL][lane]
    end
  end
  return total > 0 and min(1, share / total) or 0
end

-- ------------------------------------------------------------------ places

local function read_places()
  if not places_list then
    local text = state[HAS_PLACES] == 1 and redis.call("GET", KEYS[4])
    places_list = text and cmsgpack.unpack(text) or {}
  end
  places_changed = true
  return places_list
end

local function leave_places(who)
  if state[HAS_PLACES] ~= 1 then return end
  local list = read_places()
  for index = #list, 1, -1 do
    local places = list[index]
    for at, other in ipairs(places[WHO]) do
      if other == who then
        news = news or places[TAKEN][at] > 0
        for field = WHO, MAY_HAVE do table.remove(places[field], at) end
        break
      end
    end
    if #places[WHO] == 0 then table.remove(list, index) end
  end
end

local function level_of(places, count)
  local wanted, weight = places[WANTED], places[P_WEIGHT]
  local waiting, left = {}, count
  for at = 1, #wanted do waiting[at] = at end
  for _ = 1, ROUNDS do
    local weights, rest, size = 0, {}, 0
    for index = 1, #waiting do weights = weights + weight[waiting[index]] end
    if weights == 0 then return huge end
    local level = left / weights
    for index = 1, #waiting do
      local at = waiting[index]
      if wanted[at] <= level * weight[at] then
        left = left - wanted[at]
      else
        size = size + 1
        rest[size] = at
      end
    end
    if size == 0 then return huge end
    if size == #waiting then return level end
    waiting = rest
  end
  local weights = 0
  for _, at in ipairs(waiting) do weights = weights + weight[at] end
  return max(0, left) / weights
end

local function take_places(worker, scope, most, held, wanted)
  local weight, demand, claimed = 0, demands[scope], worker[CLAIMED]
  for at = 1, #claimed, 5 do
    if claimed[at] == scope and claimed[at + 4] > 0 then
      local total = demand[TOTAL][index_of(demand)[claimed[at + 2]]]
      weight = weight + claimed[at + 3] * claimed[at + 4] / total
    end
  end
  local list, places = read_places(), nil
  for _, one in ipairs(list) do
    if one[P_SCOPE] == scope then places = one end
  end
  if not places then
    places = { scope, -TURN_S, {}, {}, {}, {}, {}, {} }
    list[#list + 1] = places
    state[HAS_PLACES] = 1
  end
  local mine
  for at, other in ipairs(places[WHO]) do
    if other == name then
      mine = at
      break
    end
  end
  if not mine then
    mine = #places[WHO] + 1
    places[WHO][mine], places[WANTED][mine], places[TAKEN][mine] = name, 0, 0
    places[P_WEIGHT][mine], places[TURN_AT][mine], places[MAY_HAVE][mine] = 1, now - TURN_S, 0
  end
  places[WANTED][mine] = max(wanted, held)
  if weight > 0 then places[P_WEIGHT][mine] = weight end
  local before, count = places[TAKEN][mine], floor(min(most, MOST_PLACES) + EPSILON)
  local level = level_of(places, count)
  local due = min(places[WANTED][mine], level * places[P_WEIGHT][mine])
  local base = floor(due + EPSILON)
  local others, reserved, is_short, is_behind, is_over = 0, 0, false, false, false
  local turns = places[TURN_AT]
  local wishes, weights, held_by = places[WANTED], places[P_WEIGHT], places[TAKEN]
  for at = 1, #wishes do
    if at ~= mine then
      local taken = held_by[at]
      local its_due = min(wishes[at], level * weights[at])
      others = others + taken
      reserved = reserved + max(taken, floor(its_due + EPSILON))
      if taken < its_due - EPSILON then
        is_short = true
        is_behind = is_behind or turns[at] < turns[mine]
      end
      is_over = is_over or taken > its_due + 1
    end
  end
  local extra, is_recent = 0, now - places[TURN_AT][mine] < TURN_S
  if base < places[WANTED][mine] then
    local has_one = places[MAY_HAVE][mine] > base
    if has_one then
      extra = (is_recent or not is_short) and 1 or 0
    elseif before > base then -- it gives one up, with the end of a call
      extra = is_short and 0 or 1
    elseif count - reserved - base >= 1 then
      extra = (is_behind and is_recent) and 0 or 1
    end
    if (extra == 1) ~= has_one or (before > base and extra == 0) then
      places[TURN_AT][mine] = now
    end
  end
  local given = max(0, min(base + extra, count - others))
  places[MAY_HAVE][mine], places[TAKEN][mine] = given, max(given, held)
  news = news or (is_short and places[TAKEN][mine] < before)
  if is_over and given < base and now - places[HINTED_AT] >= TURN_S then
    places[HINTED_AT], news = now, true
  end
  local found = worker[GIVEN]
  for at = 1, #found, 2 do
    if found[at] == scope then
      found[at + 1] = given
      return
    end
  end
  found[#found + 1] = scope
  found[#found + 1] = given
end

-- ------------------------------------------------------------------ processes

local function read_worker(who)
  local text = redis.call("HGET", KEYS[2], who)
  return text and cmsgpack.unpack(text)
end

local function write_worker(who, worker, until_s)
  if redis.call("HSET", KEYS[2], who, cmsgpack.pack(worker)) == 1 then
    state[KEPT_UNTIL] = 0 -- the keys may be new
  end
  redis.call("ZADD", KEYS[3], string.format("%.17g", until_s), who)
end

local function die(who, worker)
  state[LIVE] = state[LIVE] - 1
  worker[IS_LIVE] = 0
  withdraw(who, worker)
  forget_unused(worker[SCOPES])
  worker[CLAIMED], worker[SCOPES], worker[LINE] = {}, {}, {}
  for at = 2, #worker[GIVEN], 2 do worker[GIVEN][at] = 0 end
  leave_places(who)
  write_worker(who, worker, worker[AT] + REMEMBERED_S)
end

local function bury()
  local limit = string.format("%.17g", now)
  for _ = 1, 2 do -- those that die may be forgotten at once
    local ended = redis.call("ZRANGEBYSCORE", KEYS[3], "-inf", limit)
    if #ended == 0 then return end
    for _, who in ipairs(ended) do
      local worker = read_worker(who)
      if worker and worker[IS_LIVE] == 1 then
        die(who, worker)
      else
        redis.call("HDEL", KEYS[2], who)
        redis.call("ZREM", KEYS[3], who)
      end
    end
  end
end

-- ------------------------------------------------------------------ leases

local function need_of(amounts, part)
  local need_s = 0
  for _, one in ipairs(amounts) do
    local limit, first = limits[one[1]], one[3]
    if limit and first > part * (limit[DEPTH] - used_of(limit)) / 2 then
      need_s = max(need_s, first / (limit[RATE] * part))
    end
  end
  return need_s
end

local function line_in(worker, scope)
  for at, one in ipairs(worker[LINE]) do
    if one[1] == scope then return at, one[2] end
  end
  return #worker[LINE] + 1, {}
end

local function portion_of(amounts, part, window_s, leads)
  local portion = 1
  for _, one in ipairs(amounts) do
    local limit, amount = limits[one[1]], one[2]
    if limit and amount > 0 then
      local there = (limit[DEPTH] - used_of(limit)) / 2
      local room = part * max(limit[RATE] * window_s, there) * min(1, leads)
      portion = min(portion, max(0, room / amount))
    end
  end
  return portion
end

local function lease_all(worker, scope, amounts, part, window_s, freed)
  local place, before = line_in(worker, scope)
  local line, waiting_s = {}, 0
  for at = 1, #before, 2 do
    if before[at] > now then
      line[#line + 1] = before[at]
      line[#line + 1] = before[at + 1]
      waiting_s = waiting_s + min(before[at + 1], before[at] - now)
    end
  end
  local lead_s = part * window_s
  local may_be_first = waiting_s <= lead_s
  local portion = portion_of(amounts, part, window_s, 2 - waiting_s / lead_s)
  if not may_be_first then
    for _, one in ipairs(amounts) do
      if portion * one[2] < one[3] then portion = 0 end
    end
  end
  for _, one in ipairs(amounts) do
    local held = (freed.places[one[1]] or {})[2] or 0
    if held >= one[3] and held > 0 and one[2] > 0 then portion = min(portion, held / one[2]) end
  end
  local last, length_s = now, 0
  for _, one in ipairs(amounts) do
    local limit, leased = limits[one[1]], portion * one[2]
    if may_be_first then leased = max(one[3], leased) end
    if limit and leased > 0 then
      local place = freed.places[one[1]] or { huge, 0 }
      freed.places[one[1]] = nil
      local at_once = lease(limit, leased, one[3], place[1], place[2])
      if gains(limit, leased, one[3], at_once, place[1], place[2]) then
        freed.limits[one[1]] = true
      end
      worker[LEASES][#worker[LEASES] + 1] = { scope, one[1], leased, at_once, limit[RATE] }
      local until_s = now + (needed_of(limit, leased, one[3]) - at_once) / limit[RATE]
      if until_s > last then
        last, length_s = until_s, leased / limit[RATE]
      end
    end
  end
  if last > now then
    if #line >= MOST_IN_LINE then
      length_s = length_s + table.remove(line)
      table.remove(line)
    end
    line[#line + 1] = last
    line[#line + 1] = length_s
  end
  worker[LINE][place] = { scope, line }
end

local function divide(worker, scope, amounts, freed)
  local demand, claimed, waits = demands[scope], worker[CLAIMED], false
  for at = 1, #claimed, 5 do
    waits = waits or (claimed[at] == scope and claimed[at + 4] > 0)
  end
  local window_s = window_of(demand)
  local part = waits and part_of(demand, claimed, window_s) or 1 / demand[USERS]
  if amounts and part > 0 then
    note_need(demand, need_of(amounts, part))
    local wider_s = window_of(demand)
    if wider_s ~= window_s then
      window_s = wider_s
      if waits then part = part_of(demand, claimed, window_s) end
    end
    if part > 0 then lease_all(worker, scope, amounts, part, window_s, freed) end
  end
  return part > 0 and part or LEAST_PART / demand[USERS], part * window_s
end

-- ------------------------------------------------------------------ the question

local function set_limits()
  local is_lost = known ~= "" and known ~= state[EPOCH]
  if is_lost then state[LOST_AT] = now end
  for _, rate in ipairs(rates) do
    local limit = limits[rate[1]]
    if not limit then
      local full_at = now
      if now - state[LOST_AT] < LOST_S then full_at = now + rate[3] / rate[2] end
      limit = { rate[1], rate[2], rate[3], full_at, now, {}, now, {}, (full_at - now) * rate[2], now, now }
      limits[rate[1]] = limit
    else
      set(limit, rate[2], rate[3])
    end
    if is_lost then fill_later(limit, now + rate[4]) end
    if rate[5] > 0 then fill_later(limit, now + rate[5]) end
  end
  if now - state[TIDIED_AT] > IDLE_S then
    state[TIDIED_AT] = now
    for key, limit in pairs(limits) do
      if max(limit[TOUCHED], limit[FULL_AT]) <= now - IDLE_S then limits[key] = nil end
    end
  end
end

-- Applies what was used other than leased; returns the places in line that are left, the limits of
-- which it has an earlier place or a smaller one, and those of which something was refunded.
local function correct(worker)
  local freed = { places = {}, limits = {}, refunds = {} }
  for _, one in ipairs(corrections) do
    local limit, left = limits[one[1]], -one[2]
    if limit then
      if one[4] and left > 0 then
        local gone, told, held = leave_line(limit, left)
        left = left - gone
        if gone > 0 then freed.places[one[1]] = { told, held } end
        if worker then worker[LINE] = {} end
      end
      if left > 0 then
        give_back(limit, left, now - one[3])
        freed.refunds[one[1]] = true
      end
      if left < 0 then take(limit, -left) end
    end
  end
  return freed
end

-- Lets those in line ask again, and the process that asks as well, if what was given back lets them be earlier.
local function hint(freed)
  local named = {}
  for _, list in pairs(freed) do
    for limit in pairs(list) do named[limit] = true end
  end
  for limit in pairs(named) do
    if lets_wait(limits[limit], freed.refunds[limit]) then news, from = true, "" end
  end
end

local function refuse()
  local all = state[REFUSED]
  for _, one in ipairs(refusals) do
    state[SEEN] = state[SEEN] + 1
    news = true
    all[#all + 1] = { state[SEEN], name, one[1], one[2], now + one[3], now - one[4], now }
  end
  local kept = {}
  for at = max(1, #all - REFUSALS + 1), #all do
    if max(all[at][7], all[at][5]) > now - REFUSAL_S then kept[#kept + 1] = all[at] end
  end
  state[REFUSED] = kept
end

local function replace(old)
  local worker, before = { number, now, 1, {}, {}, {}, {}, {}, {} }, {}
  if old then
    if old[IS_LIVE] == 1 then
      withdraw(name, old)
      before = old[SCOPES]
      state[LIVE] = state[LIVE] - 1
    end
    worker[LINE] = old[LINE]
  end
  state[LIVE] = state[LIVE] + 1
  local named = {}
  for _, list in ipairs({ lanes, leases, asked_places }) do
    for _, one in ipairs(list) do
      local scope = one[1]
      if not named[scope] then
        named[scope] = true
        if not demands[scope] then
          demands[scope] = { scope, 0, 0, "", 0, {}, {}, {}, {}, {}, {}, {} }
        end
        demands[scope][USERS] = demands[scope][USERS] + 1
        worker[SCOPES][#worker[SCOPES] + 1] = scope
      end
    end
  end
  for _, one in ipairs(lanes) do
    add_claim(worker[CLAIMED], one[1], one[2], one[3], one[4], one[5], one[6])
  end
  local unused = worker[SCOPES]
  for _, scope in ipairs(before) do
    if not named[scope] then unused = { scope, unpack(unused) } end
  end
  forget_unused(unused)
  return worker
end

local function grant(worker)
  local passed = now - worker[AT]
  local leased, full, weights, refused = {}, {}, {}, {}
  local is_last = number == worker[NUMBER] -- a question before it gets no lease
  for _, one in ipairs(is_last and worker[LEASES] or {}) do
    local late = 0
    if passed > UNUSED_S then late = max(0, one[4] + one[5] * (passed - UNUSED_S)) end
    if late < one[3] then
      local at_once = one[4] + one[5] * passed - late
      leased[#leased + 1] = { one[1], one[2], one[3] - late, at_once, one[5] }
    end
  end
  for _, rate in ipairs(rates) do
    local limit = limits[rate[1]]
    if limit then full[#full + 1] = { rate[1], max(0, limit[FULL_AT] - now) } end
  end
  local claimed = is_last and worker[CLAIMED] or {}
  for at = 1, #claimed, 5 do
    local demand, ticks = demands[claimed[at]], claimed[at + 4]
    local own = 1 / demand[USERS]
    if ticks > 0 then own = ticks / demand[TOTAL][index_of(demand)[claimed[at + 2]]] end
    weights[#weights + 1] = claimed[at + 3] * own
  end
  local since = known == state[EPOCH] and seen or 0
  for _, one in ipairs(state[REFUSED]) do
    if one[1] > since and one[2] ~= name then
      refused[#refused + 1] = { one[3], one[4], max(0, one[5] - now), now - one[6] }
    end
  end
  return cmsgpack.pack({
    state[EPOCH], state[LIVE], leased, full, worker[PARTS], weights, worker[GIVEN], refused,
    state[SEEN],
  })
end

-- Writes what has changed; every key expires.
local function save()
  local kept_s, list = KEPT_S, {}
  for _, limit in pairs(limits) do
    list[#list + 1] = limit
    kept_s = max(kept_s, KEPT_S + limit[FULL_AT] - now)
  end
  state[LIMITS] = list
  state[DEMANDS] = {}
  for _, demand in pairs(demands) do state[DEMANDS][#state[DEMANDS] + 1] = demand end
  local kept = string.format("%.0f", floor(min(kept_s, 1e9)))
  if places_changed then
    if #places_list == 0 then
      state[HAS_PLACES] = 0
      redis.call("DEL", KEYS[4])
    else
      redis.call("SET", KEYS[4], cmsgpack.pack(places_list), "EX", kept)
    end
  end
  if state[KEPT_UNTIL] < now + kept_s - KEPT_S / 2 then
    state[KEPT_UNTIL] = now + kept_s
    for at = 2, 4 do redis.call("EXPIRE", KEYS[at], kept) end
  end
  redis.call("SET", KEYS[1], cmsgpack.pack(state), "EX", kept)
  if news then redis.call("PUBLISH", ARGV[4], from) end
end

bury()
local worker = read_worker(name)
if not worker or number > worker[NUMBER] then
  set_limits()
  local freed = correct(worker)
  refuse()
  worker = replace(worker)
  if leaves then
    die(name, worker)
  else
    local amounts_of = {}
    for _, one in ipairs(leases) do amounts_of[one[1]] = one[2] end
    for at, scope in ipairs(worker[SCOPES]) do
      worker[PARTS][at] = { scope, divide(worker, scope, amounts_of[scope], freed) }
    end
    for _, one in ipairs(asked_places) do
      take_places(worker, one[1], one[2], one[3], one[4])
    end
    write_worker(name, worker, now + ALIVE_S)
  end
  hint(freed)
end
local reply = grant(worker)
save()
return reply
