-- enter: where visitors stand who ask. See Store.Enter.
--
-- ARGV[24]  the items, 33 bytes each: id (8 bytes), until when present (8 bytes, see UNHEARD), place
--           (16 digits), flags (1 byte: 1 newcomer, 2 again, 4 join, 8 claim). One string costs much
--           less than as many arguments.
-- ARGV[25]  1 where all of them are presence marks: neither newcomers nor claims
--
-- Returns {now, generation, place time, then for each item: what it is, and the numbers that it says follow}.
-- What it is: the state as queue.State; 8 joined, 16 claimed, 32 provisional, 64 restored; 128 the
-- place is the one that was sent; 256 the place follows, 512 the rank, 1024 called and until.
-- Where all are marks, whoever waits as they should is left out, and the number of the item, from 0,
-- stands before each of the others.
local NONE, WAITING, ADMITTED, FULL, SHUT, USED = 0, 1, 2, 3, 4, 5
local JOINED, CLAIMED, PROVISIONAL, RESTORED = 8, 16, 32, 64
local SAME_PLACE, HAS_PLACE, HAS_RANK, HAS_CALL = 128, 256, 512, 1024
local MAX_LATE = 2000000
local LATE_CALL = 1000000 -- queue.LateCall
local SIZE = 33
local MAX_VALUES = 2000 -- handed to one command; Lua bears less than 8000

local items, all_marks = ARGV[first_item], ARGV[first_item + 1] == '1'
local late = now - told > LATE_CALL -- what was sent after it may have been faster

-- The item at hand. A command takes the place and the deadline as they were sent,
-- where a number would have to be written anew.
local NEWCOMER, AGAIN, JOIN, CLAIM
local PLACE, PLACE_TEXT, TILL

local out = {now, generation, placed}
local n = 3

-- answer says how the visitor at hand stands. The place may be 0. It returns where
-- the rank stands, so that one that is not known yet can be put there.
local function answer(what, place, rank, called_at, till)
  local head = n + 1
  n = head
  if place == PLACE then
    what = what + SAME_PLACE
  elseif place ~= 0 then
    what = what + HAS_PLACE
    n = n + 1
    out[n] = place
  end
  local at
  if rank then
    what = what + HAS_RANK
    n = n + 1
    at, out[n] = n, rank
  end
  if called_at then
    what = what + HAS_CALL
    out[n + 1], out[n + 2] = called_at, till
    n = n + 2
  end
  out[head] = what
  return at
end

local in_line = call('ZCARD', waiting)

-- slots is how many are taken, once somebody has asked.
local slots
local function slots_taken()
  slots = slots or call('ZCARD', called) + call('ZCARD', active)
  return slots
end

-- mark_present moves deadlines later, never earlier. It returns the numbers of those
-- who are not in line.
local function mark_present(ids, tills)
  local stored = call('HMGET', present, unpack(ids))
  local later, k, latest, absent = {}, 0, {}, {}
  for i = 1, #ids do
    local id, till = ids[i], instant(tills[i], 1)
    local known = latest[id] or stored[i] and instant(stored[i], 1) -- somebody may poll twice
    if not known then
      absent[#absent + 1] = i
    elseif till > known then
      latest[id] = till
      later[k + 1], later[k + 2] = id, tills[i]
      k = k + 2
    elseif not latest[id] and byte(stored[i]) == UNHEARD then -- heard of, however short the time
      latest[id] = known
      later[k + 1], later[k + 2] = id, '\0' .. sub(stored[i], 2)
      k = k + 2
    end
  end
  if k > 0 then call('HSET', present, unpack(later)) end
  return absent
end

-- Writes to the line are gathered and made many at a time; whatever reads the line
-- flushes them first.
local new_places, new_marks, new, earliest = {}, {}, 0, math.huge
local marks, mark_tills, marked = {}, {}, 0
local function flush()
  if new > 0 then
    call('ZADD', waiting, unpack(new_places))
    call('HSET', present, unpack(new_marks))
    note()
    new_places, new_marks, new, earliest = {}, {}, 0, math.huge
  end
  if marked > 0 then
    local lost = mark_present(marks, mark_tills)
    for i = 1, #lost do
      local k = lost[i]
      call('HSET', present, marks[k], mark_tills[k])
      look_at(marks[k], instant(mark_tills[k], 1))
    end
    note()
    marks, mark_tills, marked = {}, {}, 0
  end
end

-- Those put in line before somebody else, in order of place: their ranks are found
-- together, before anything that would change one.
local between, between_at, ranked, last_between = {}, {}, 0, 0
local function settle()
  flush()
  if ranked == 0 then return end
  local first = call('ZRANK', waiting, between[1])
  if in_line - first <= 8 * ranked then -- what comes behind is not much more
    local at = {}
    for i = 1, ranked do at[between[i]] = between_at[i] end
    local behind = call('ZRANGE', waiting, first, -1)
    for i = 1, #behind do
      local k = at[behind[i]]
      if k then out[k] = first + i - 1 end
    end
  else
    for i = 1, ranked do out[between_at[i]] = call('ZRANK', waiting, between[i]) end
  end
  between, between_at, ranked, last_between = {}, {}, 0, 0
end

local function admit(place, called_at, till, flags)
  answer(ADMITTED + flags, place, nil, called_at, till - SLOT_MARGIN)
end

-- claim: a called visitor has come and takes the slot.
local function claim(id, place, called_at, flags)
  local till = slot_end(now, session, called_at)
  call('ZREM', called, id)
  call('ZADD', active, till, id)
  use_up(id, place, now + used_for)
  admit(place, called_at, till, flags + CLAIMED)
end

local function note_call(id, place, text)
  local called_at = now - now % 1000
  call('HSET', since, id, text or called_at)
  calls = calls + 1
  front = max(front, place)
  if slots then slots = slots + 1 end
  return called_at
end

-- queue_up puts somebody in line and answers.
local function queue_up(id, place, flags)
  local behind_all = place > last
  if behind_all then last = place end
  if mode == OPEN and fresh and CLAIM then return claim(id, place, note_call(id, place), flags) end
  if place <= last_between then settle() end
  local k = 2 * new
  new_places[k + 1], new_places[k + 2] = place == PLACE and PLACE_TEXT or place, id
  new_marks[k + 1], new_marks[k + 2] = id, TILL
  new = new + 1
  if place < earliest then earliest = place end
  look_at(id, instant(TILL, 1))
  in_line = in_line + 1
  if mode == CLOSED then
    answer(SHUT + flags, place)
  elseif not CLAIM then
    answer(WAITING + flags, place)
  elseif behind_all then
    answer(WAITING + flags, place, in_line - 1)
  else
    ranked = ranked + 1
    between[ranked], between_at[ranked] = id, answer(WAITING + flags, place, 0)
    last_between = place
  end
  if 2 * new >= MAX_VALUES then flush() end
end

-- wait marks somebody present who is in line, and answers.
local function wait(id, place)
  if CLAIM and not NEWCOMER and PLACE > 0 and PLACE < place then -- the room heard of the first request late, and moved the place
    place = PLACE
    settle()
    call('ZADD', waiting, PLACE_TEXT, id)
  end
  if mode == OPEN and fresh and CLAIM then
    settle()
    call('ZREM', waiting, id)
    call('HDEL', present, id)
    in_line = in_line - 1
    return claim(id, place, note_call(id, place), 0)
  end
  marked = marked + 1
  marks[marked], mark_tills[marked] = id, TILL
  if mode == CLOSED then
    answer(SHUT, place)
  elseif CLAIM then
    if earliest <= place then flush() end
    answer(WAITING, place, call('ZRANK', waiting, id))
  else
    answer(WAITING, place)
  end
  if 2 * marked >= MAX_VALUES then flush() end
end

local function welcome(id, place)
  place = min(max(place, placed - MAX_LATE), placed)
  if mode == CLOSED then return answer(SHUT, 0) end
  if CLAIM and (mode == OPEN and fresh or in_line == 0 and not is_held() and callable(slots_taken()) >= 1) then
    if mode ~= OPEN then spend(1) end
    call('ZADD', called, now + claim_within, id)
    local called_at = note_call(id, place, string.format('%.0f %.0f?', now - now % 1000, place))
    return answer(ADMITTED + JOINED + CLAIMED + PROVISIONAL, place, nil, called_at, now + claim_within - claim_margin)
  end
  if not JOIN then return answer(NONE, 0) end
  if is_full or max_waiting > 0 and in_line >= max_waiting then return answer(FULL, 0) end
  queue_up(id, place, JOINED)
end

local function known(id, place)
  flush()
  local kept = call('ZSCORE', waiting, id)
  if kept then
    wait(id, tonumber(kept))
    return true
  end
  local due = call('ZSCORE', called, id)
  if due then
    local called_at, place_kept, heard_of = called_since(id)
    called_at, place = called_at or 0, place_kept or place
    due = tonumber(due)
    if heard_of then call('HSET', since, id, heard_of) end
    if NEWCOMER and CLAIM then
      -- The answer to the first request was lost. The slot waits as for one let in
      -- on the spot, so that the pass is good also when a tick called them.
      due = max(due, called_at + claim_within)
      call('ZADD', called, due, id)
      answer(ADMITTED + PROVISIONAL, place, nil, called_at, due - claim_margin)
    elseif CLAIM then
      claim(id, place, called_at, 0)
    else
      call('ZADD', called, min(max(due, instant(TILL, 1)), called_at + claim_within), id)
      answer(WAITING, place)
    end
    return true
  end
  local ends = call('ZSCORE', active, id)
  if ends then
    local called_at, place_kept = called_since(id)
    called_at, place = called_at or 0, place_kept or place
    local e = max(tonumber(ends), slot_end(now, session, called_at))
    call('ZADD', active, e, id)
    admit(place, called_at, e, 0)
    return true
  end
  if call('ZREM', away, id) == 1 then
    queue_up(id, min(place, placed + MAX_STEP), 0)
    return true
  end
  return false
end

-- one decides for the visitor whose item begins at an offset. kept is their place
-- where it is known that they are in line.
local function one(from, id, kept)
  PLACE_TEXT, TILL = sub(items, from + 16, from + 31), sub(items, from + 8, from + 15)
  PLACE = tonumber(PLACE_TEXT)
  local flags = byte(items, from + 32)
  NEWCOMER, AGAIN, JOIN, CLAIM = flags % 2 >= 1, late or flags % 4 >= 2, flags % 8 >= 4, flags >= 8
  -- A second try may overtake the first.
  if NEWCOMER and flags % 4 >= 2 then retried = now end
  AGAIN = AGAIN or now < retried + LATE_CALL
  if NEWCOMER and not AGAIN then
    welcome(id, PLACE)
    return
  end
  if NEWCOMER then TILL = '\0' .. sub(TILL, 2) end -- of who is known, more was heard
  if kept then
    wait(id, tonumber(kept))
  elseif not known(id, PLACE) then
    if is_used(id, PLACE) or call('ZSCORE', left, id) then -- one of them may have been lost
      answer(USED, 0)
    elseif NEWCOMER then
      TILL = string.char(UNHEARD) .. sub(TILL, 2)
      welcome(id, PLACE)
    else
      came_back(PLACE)
      queue_up(id, min(PLACE, placed + MAX_STEP), PLACE < born() and RESTORED or 0)
    end
  end
end

-- Presence marks, by far the most there is to do: whoever is in line is marked, as
-- many at once as a command takes.
if all_marks then
  local absent = {}
  for begin = 1, #items, MAX_VALUES / 2 * SIZE do
    local ids, tills, k = {}, {}, 0
    for from = begin, min(begin + MAX_VALUES / 2 * SIZE, #items) - 1, SIZE do
      k = k + 1
      ids[k], tills[k] = sub(items, from, from + 7), sub(items, from + 8, from + 15)
    end
    local others = mark_present(ids, tills)
    for i = 1, #others do absent[#absent + 1] = begin + (others[i] - 1) * SIZE end
  end
  for i = 1, #absent do
    n = n + 1
    out[n] = (absent[i] - 1) / SIZE
    one(absent[i], sub(items, absent[i], absent[i] + 7))
  end
else
  -- The places of those who were in line before this call, asked for many at once.
  -- Nobody leaves the line in here but by an open mode, which looks again.
  local kept = {}
  if mode ~= OPEN then
    local asked, k = {}, 0
    local function ask()
      local places = call('ZMSCORE', waiting, unpack(asked))
      for i = 1, k do kept[asked[i]] = places[i] end
      asked, k = {}, 0
    end
    for from = 1, #items, SIZE do
      if late or byte(items, from + 32) % 4 ~= 1 then
        k = k + 1
        asked[k] = sub(items, from, from + 7)
        if k == MAX_VALUES then ask() end
      end
    end
    if k > 0 then ask() end
  end
  for from = 1, #items, SIZE do
    local id = sub(items, from, from + 7)
    one(from, id, kept[id])
  end
end

settle()
save()
return out
