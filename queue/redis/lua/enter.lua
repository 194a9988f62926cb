-- enter: where visitors stand who ask. See Store.Enter.
--
-- Items: id, place, until when present, flags (1 newcomer, 2 again, 4 join, 8 claim).
-- Returns {now, generation, then for each item: state, place, rank, called, until, flags}
-- with states as queue.State and flags 1 joined, 2 claimed, 4 provisional, 8 restored.
local NONE, WAITING, ADMITTED, FULL, SHUT, USED = 0, 1, 2, 3, 4, 5
local JOINED, CLAIMED, PROVISIONAL, RESTORED = 1, 2, 4, 8
local MAX_LATE = 2000000
local NEWCOMER, AGAIN, JOIN, CLAIM
-- The instants of the item at hand as they were sent: a command takes them as they
-- are, where a number would have to be written anew.
local PLACE, PLACE_TEXT, TILL_TEXT

local out = {now, generation}
local n = 2
local function answer(state, place, rank, called_at, till, flags)
  out[n + 1], out[n + 2], out[n + 3], out[n + 4], out[n + 5], out[n + 6] = state, place, rank, called_at, till, flags
  n = n + 6
end

local in_line = call('ZCARD', waiting)
local slots = call('ZCARD', called) + call('ZCARD', active)

-- Writes to the line are gathered and made a few hundred at a time; whatever reads
-- the line flushes them first.
local new_places, new_marks, marks, mark_at = {}, {}, {}, {}
local function flush()
  if #new_places > 0 then
    call('ZADD', waiting, unpack(new_places))
    call('ZADD', present, unpack(new_marks))
    new_places, new_marks = {}, {}
  end
  if #marks > 0 then
    call('ZADD', present, 'XX', 'GT', unpack(marks))
    marks, mark_at = {}, {}
  end
end

local function admit(id, place, called_at, till, flags)
  answer(ADMITTED, place, -1, called_at, till - SLOT_MARGIN, flags)
end

-- claim: a called visitor has come and takes the slot.
local function claim(id, place, called_at, flags)
  local till = slot_end(now, session, called_at)
  call('ZREM', called, id)
  call('ZADD', active, till, id)
  use_up(id, place, now + used_for)
  admit(id, place, called_at, till, flags + CLAIMED)
end

local function note_call(id, place, note)
  local called_at = now - now % 1000
  call('HSET', since, id, note or called_at)
  calls = calls + 1
  front = max(front, place)
  slots = slots + 1
  return called_at
end

-- wait: somebody who is in line, if need be put there first, is answered.
local function wait(id, place, till, fresh_in_line, flags)
  local behind_all = fresh_in_line and place > last
  if behind_all then last = place end
  if mode == OPEN and fresh and CLAIM then
    if not fresh_in_line then
      flush()
      call('ZREM', waiting, id)
      call('ZREM', present, id)
      in_line = in_line - 1
    end
    return claim(id, place, note_call(id, place), flags)
  end
  local rank = -1
  if fresh_in_line then
    local k = #new_places
    new_places[k + 1], new_places[k + 2] = place == PLACE and PLACE_TEXT or place, id
    new_marks[k + 1], new_marks[k + 2] = TILL_TEXT, id
    if behind_all then rank = in_line end
    in_line = in_line + 1
  else
    local k = mark_at[id]
    if k then -- twice in one call
      if till > tonumber(marks[k]) then marks[k] = TILL_TEXT end
    else
      k = #marks + 1
      mark_at[id], marks[k], marks[k + 1] = k, TILL_TEXT, id
    end
  end
  if mode == CLOSED then return answer(SHUT, place, -1, 0, 0, flags) end
  if rank < 0 and (CLAIM or NEWCOMER) then
    if #new_places > 0 then flush() end
    rank = call('ZRANK', waiting, id)
  end
  answer(WAITING, place, rank, 0, 0, flags)
end

local function welcome(id, place, till)
  place = min(max(place, now - MAX_LATE), now)
  if mode == CLOSED then return answer(SHUT, 0, -1, 0, 0, 0) end
  if mode == OPEN and fresh or in_line == 0 and callable(slots) >= 1 then
    if mode ~= OPEN then spend(1) end
    call('ZADD', called, now + claim_within, id)
    local called_at = note_call(id, place, string.format('%.0f %.0f', now - now % 1000, place))
    return answer(ADMITTED, place, -1, called_at, now + claim_within - claim_margin, JOINED + CLAIMED + PROVISIONAL)
  end
  if not JOIN then return answer(NONE, 0, -1, 0, 0, 0) end
  if max_waiting > 0 and in_line >= max_waiting then return answer(FULL, 0, -1, 0, 0, 0) end
  wait(id, place, till, true, JOINED)
end

local function known(id, place, till)
  flush()
  local kept = call('ZSCORE', waiting, id)
  if kept then
    wait(id, tonumber(kept), till, false, 0)
    return true
  end
  local due = call('ZSCORE', called, id)
  if due then
    local called_at, place_kept = called_since(id)
    called_at, place = called_at or 0, place_kept or place
    due = tonumber(due)
    if NEWCOMER then
      -- The answer to the first request was lost. The slot waits as for one let in
      -- on the spot, so that the pass is good also when a tick called them.
      due = max(due, called_at + claim_within)
      call('ZADD', called, due, id)
      answer(ADMITTED, place, -1, called_at, due - claim_margin, PROVISIONAL)
    elseif CLAIM then
      claim(id, place, called_at, 0)
    else
      call('ZADD', called, min(max(due, till), called_at + claim_within), id)
      answer(WAITING, place, -1, 0, 0, 0)
    end
    return true
  end
  local ends = call('ZSCORE', active, id)
  if ends then
    local called_at, place_kept = called_since(id)
    called_at, place = called_at or 0, place_kept or place
    local e = max(tonumber(ends), slot_end(now, session, called_at))
    call('ZADD', active, e, id)
    admit(id, place, called_at, e, 0)
    return true
  end
  if call('ZREM', away, id) == 1 then
    wait(id, min(place, now), till, true, 0)
    return true
  end
  return false
end

-- The places of those who were in line before this call, asked for at once. Nobody
-- leaves the line in here but by an open mode, which looks again.
local asked, kept = {}, {}
if mode ~= OPEN then
  for i = first_item, #ARGV, 4 do
    if tonumber(ARGV[i + 3]) % 4 ~= 1 then asked[#asked + 1] = ARGV[i] end
  end
  if #asked > 0 then
    local scores = call('ZMSCORE', waiting, unpack(asked))
    for i = 1, #asked do kept[asked[i]] = scores[i] end
  end
end

for i = first_item, #ARGV, 4 do
  PLACE_TEXT, TILL_TEXT = ARGV[i + 1], ARGV[i + 2]
  local id, place, till, flags = ARGV[i], tonumber(PLACE_TEXT), tonumber(TILL_TEXT), tonumber(ARGV[i + 3])
  PLACE = place
  NEWCOMER, AGAIN, JOIN, CLAIM = flags % 2 >= 1, flags % 4 >= 2, flags % 8 >= 4, flags % 16 >= 8
  if NEWCOMER and not AGAIN then
    welcome(id, place, till)
  elseif kept[id] then
    wait(id, tonumber(kept[id]), till, false, 0)
  elseif not known(id, place, till) then
    if is_used(id, place) then
      answer(USED, 0, -1, 0, 0, 0)
    elseif NEWCOMER then
      welcome(id, place, till)
    else
      wait(id, min(place, now), till, true, RESTORED)
    end
  end
end

flush()
save()
return out
