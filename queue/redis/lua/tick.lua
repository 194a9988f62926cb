-- tick: what time brings. See Store.Tick.
--
-- No items. Returns {now, generation, waiting, away, called, active, front, calls, perhour, burst,
-- more, called by this tick, no-shows, abandoned, ended, ladder, version and keys of the overrides,
-- held, barrier, then of a loss that the gate has not heard of: found, line kept, slots kept, born;
-- whether the server has no memory left; place time}.
local LADDER_AGE = 200000
local DENSE = 64 -- queue.denseRungs
local MAX_SLICES = 100 -- most of the agenda's in one tick
local MAX_PARTS = 16 -- of a slice, each of PART visitors or fewer, taken at once
local MAX_LOOKS = 2000 -- most visitors by the agenda in one tick; a thousand take Redis a millisecond

local more = 0
local no_shows, abandoned, ended, called_now = 0, 0, 0, 0

-- due: at most MAX_WORK members of a set whose time is over, taken out of it.
local function due(set)
  local ids = call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, MAX_WORK)
  if #ids > 0 then call('ZREM', set, unpack(ids)) end
  if #ids == MAX_WORK then more = 1 end
  return ids
end

-- go_away keeps the places of absent visitors. Who was never heard of since they came,
-- as a program that took no cookie, is forgotten: the place stands in the ticket, if
-- there is anybody who has it.
local function go_away(ids, unheard)
  local args, k, till = {}, 0, now + keep_place
  for i = 1, #ids do
    if unheard[i] then
      abandoned = abandoned + 1
    else
      args[k + 1], args[k + 2] = till, ids[i]
      k = k + 2
    end
  end
  if k > 0 then call('ZADD', away, unpack(args)) end
end

-- Keys of which others tell that they must be there, also where this call has found
-- another loss: nothing would tell of them any more.
do
  local function some_lost(set, members)
    local keys = {}
    for i = 1, #members do keys[i] = set .. ':' .. members[i] end
    return #keys > 0 and call('EXISTS', unpack(keys)) < #keys
  end
  local minutes = call('ZRANGE', used, 0, 499)
  local used_lost = some_lost(used, minutes)
  local agenda_lost = some_lost(agenda, call('ZRANGEBYSCORE', agenda, '-inf', floor(now / SLICE), 'LIMIT', 0, MAX_SLICES))
  if used_lost then
    for i = 1, #minutes do
      if call('EXISTS', used .. ':' .. minutes[i]) == 0 then call('ZREM', used, minutes[i]) end
    end
  end
  if before and (used_lost or agenda_lost) then lose(PARTS, not agenda_lost, true) end
end

local gone = due(active)
if #gone > 0 then call('HDEL', since, unpack(gone)) end
ended = #gone

gone = due(called)
no_shows = #gone
if no_shows > 0 then
  local unheard, notes = {}, call('HMGET', since, unpack(gone))
  for i = 1, no_shows do unheard[i] = notes[i] and byte(notes[i], -1) == QUESTION end
  call('HDEL', since, unpack(gone))
  go_away(gone, unheard)
end

-- look at visitors in line whose time to be present may be over.
local slice_now = floor(now / SLICE)
local function look(ids)
  if #ids == 0 then return end
  local marks = call('HMGET', present, unpack(ids))
  local absent, unheard, near, seen = {}, {}, {}, {}
  for i = 1, #ids do
    local id = ids[i]
    if marks[i] and not seen[id] then -- else they left the line
      seen[id] = true
      local till = instant(marks[i], 1)
      if till <= now then
        absent[#absent + 1] = id
        unheard[#absent] = byte(marks[i]) == UNHEARD
      elseif till < (slice_now + 1) * SLICE then
        near[#near + 1] = till
        near[#near + 1] = id
      else
        look_at(id, till)
      end
    end
  end
  if #near > 0 then call('ZADD', soon, unpack(near)) end
  if #absent > 0 then
    call('ZREM', waiting, unpack(absent))
    call('HDEL', present, unpack(absent))
    go_away(absent, unheard)
  end
end

look(due(soon))
local looks, ids, count = 0, {}, 0
local function look_at_all()
  look(ids)
  looks = looks + count
  ids, count = {}, 0
end
local reached = call('ZRANGEBYSCORE', agenda, '-inf', slice_now, 'LIMIT', 0, MAX_SLICES)
if #reached == MAX_SLICES then more = 1 end
for i = 1, #reached do
  local slice = reached[i]
  local list = agenda .. ':' .. slice
  local parts = looks < MAX_LOOKS and call('LPOP', list, MAX_PARTS)
  while parts do
    for k = 1, #parts do
      local packed = parts[k]
      for from = 1, #packed, 8 do
        count = count + 1
        ids[count] = sub(packed, from, from + 7)
      end
      if count >= MAX_WORK then look_at_all() end
    end
    parts = looks < MAX_LOOKS and call('LPOP', list, MAX_PARTS)
  end
  if looks >= MAX_LOOKS then
    more = 1
    if call('EXISTS', list) == 0 then call('ZREM', agenda, slice) end
    break
  end
  call('ZREM', agenda, slice)
end
look_at_all()
note()

abandoned = abandoned + #due(away)

due(left)
local minutes = call('ZRANGEBYSCORE', used, '-inf', now, 'LIMIT', 0, 4)
for i = 1, #minutes do
  call('UNLINK', used .. ':' .. minutes[i])
  call('ZREM', used, minutes[i])
end

-- Call those who are next. Nobody is called whose time to be present is over,
-- also when there were too many of them to take out above.
local slots = call('ZCARD', called) + call('ZCARD', active)
settle_most(slots)
local in_line = call('ZCARD', waiting)
local n = min(callable(slots), in_line)
if n > MAX_WORK then n, more = MAX_WORK, 1 end
local rounds = 0
while n > 0 do
  rounds = rounds + 1
  if rounds > 4 then
    more = 1
    break
  end
  if is_held() then n = min(n, call('ZCOUNT', waiting, '-inf', y.barrier)) end
  if n == 0 then break end
  local next_up = call('ZRANGE', waiting, 0, n - 1, 'WITHSCORES')
  if #next_up == 0 then break end
  local ids = {}
  for i = 1, #next_up, 2 do ids[#ids + 1] = next_up[i] end
  local marks = call('HMGET', present, unpack(ids))
  local absent, unheard, deadlines, calls_at = {}, {}, {}, {}
  local called_at = now - now % 1000
  local called_unheard = string.format('%.0f?', called_at)
  for i = 1, #ids do
    local till = marks[i] and instant(marks[i], 1) or 0
    local not_heard = marks[i] and byte(marks[i]) == UNHEARD
    if till <= now then
      absent[#absent + 1] = ids[i]
      unheard[#absent] = not_heard
    else
      local k = #deadlines
      deadlines[k + 1], deadlines[k + 2] = min(till, now + claim_within), ids[i]
      calls_at[k + 1], calls_at[k + 2] = ids[i], not_heard and called_unheard or called_at
      front = max(front, tonumber(next_up[2 * i]))
    end
  end
  call('ZREM', waiting, unpack(ids))
  call('HDEL', present, unpack(ids))
  go_away(absent, unheard)
  if #deadlines > 0 then
    call('ZADD', called, unpack(deadlines))
    call('HSET', since, unpack(calls_at))
  end
  local k = #deadlines / 2
  called_now = called_now + k
  n = n - k
end
spend(called_now)
calls = calls + called_now

-- No more absent visitors are remembered than may wait: of the others, who are absent
-- longest, the tickets are enough.
if max_waiting > 0 and fresh then
  local over = min(call('ZCARD', away) - max_waiting, MAX_WORK)
  if over > 0 then
    call('ZREMRANGEBYRANK', away, 0, over - 1)
    abandoned = abandoned + over
    if over == MAX_WORK then more = 1 end
  end
end

-- The ladder: the latest place given, then places at fixed ranks (queue.NextRung).
in_line = call('ZCARD', waiting)
local taken = tonumber(call('HGET', meta, 'ladder_at') or 0)
local rungs = now < taken + LADDER_AGE and call('GET', ladder)
if not rungs then
  local places = {string.format('%.0f', last)}
  local front_row = call('ZRANGE', waiting, 0, DENSE - 1, 'WITHSCORES')
  for i = 2, #front_row, 2 do places[#places + 1] = front_row[i] end
  local r = DENSE
  while r < in_line do
    places[#places + 1] = call('ZRANGE', waiting, r, r, 'WITHSCORES')[2]
    r = r + floor(r / 32)
  end
  rungs = table.concat(places, ' ')
  call('SET', ladder, rungs)
  call('HSET', meta, 'ladder_at', now)
end

save()
read_loss()
local keys = ''
if known_version ~= version then keys = call('HGET', overrides, 'keys') or '' end
return {now, generation, in_line, call('ZCARD', away), call('ZCARD', called), call('ZCARD', active),
  front, calls, perhour, burst, more, called_now, no_shows, abandoned, ended, rungs, known_version, keys,
  is_held() and y.held or 0, y and y.barrier or 0, y and said < generation and y.found or 0,
  y and y.kept_line or 0, y and y.kept_slots or 0, y and y.born or 0, is_full and 1 or 0, placed}
