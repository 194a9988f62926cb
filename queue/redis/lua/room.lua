-- room: what every operation begins with. The operation's own file follows.
--
-- Instants are of room time, places of place time, in microseconds: whole numbers below 2^53. They are
-- handed to commands as numbers: `..` and tostring() would cut them to 14 digits.
--
-- KEYS[1]   meta      HASH    time, wall, generation; shift (of place time, to room time); units, at, perhour, burst;
--                             last, front, calls; ladder_at; most;
--                             run (of the server), keys (how many), retried, young and what is known of a loss, see lose
-- KEYS[2]   waiting   ZSET    id -> place: the line, present visitors only
-- KEYS[3]   present   HASH    id -> until when a visitor counts as present, 8 bytes, the first of them UNHEARD
--                             of who was not heard of since they came: of those waiting, all of them
-- KEYS[4]   agenda    ZSET    slice of time -> itself, of the slices in which visitors are to be looked at;
--                             who they are is in the LIST agenda:<slice>, see look_at
-- KEYS[5]   soon      ZSET    id -> until when present, of visitors who may be absent before their slice ends
-- KEYS[6]   away      ZSET    id -> until when an absent visitor's place is kept
-- KEYS[7]   called    ZSET    id -> until when the slot waits for the visitor
-- KEYS[8]   active    ZSET    id -> end of the slot
-- KEYS[9]   since     HASH    id -> when called, for the called and the active; behind a blank the place of
--                             one let in on the spot, who has no ticket to tell it; at the end a
--                             question mark for who was not heard of before they were called, nor since
-- KEYS[10]  left      ZSET    id -> until when it is remembered that the visitor left
-- KEYS[11]  used      ZSET    minute -> until when the used tickets of places in that minute are remembered;
--                             each minute's tickets are in the HASH used:<minute>, see use_up
-- KEYS[12]  ladder    STRING  places at fixed ranks, the latest place given first
-- KEYS[13]  overrides HASH    version, keys
-- KEYS[14]  never     nothing: a cluster refuses a call, before it begins, while its slot moves to another
--                             server and one of its keys is not there. Scripts name keys themselves, which may
--                             have moved already, and an error in the middle would leave half of a call's work
--
-- ARGV[1]   now, microseconds; empty: the clock of the server
-- ARGV[2]   latest room time the gate was told; ARGV[3] its generation; ARGV[4] its version of the overrides
-- ARGV[5]   mode; [6] visitors per hour, -1 no limit; [7] burst; [8] max_active; [9] max_waiting, 0 none
-- ARGV[10]  session; [11] max_session, 0 none; [12] claim_within; [13] claim margin; [14] keep_place;
-- ARGV[15]  how long used tickets are remembered
-- ARGV[16]  how long the gate's visitors take to come back; [17] called and [18] active, as it last saw them
-- ARGV[19]  how long visitors take to come back of whom no gate knows
-- ARGV[20]  how long the gate has run
-- ARGV[21]  place time, as far as the gate knows; [22] 1 where it has not heard the store yet
-- ARGV[23]  1 where the server lately had no memory left
-- ARGV[24..] items of the operation
local meta, waiting, present, agenda, soon, away = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local called, active, since, left, used = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local ladder, overrides = KEYS[12], KEYS[13]
local told, version, mode = tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5])
local max_active, max_waiting = tonumber(ARGV[8]), tonumber(ARGV[9])
local session, max_session = tonumber(ARGV[10]), tonumber(ARGV[11])
local claim_within, claim_margin = tonumber(ARGV[12]), tonumber(ARGV[13])
local keep_place, used_for = tonumber(ARGV[14]), tonumber(ARGV[15])
local said = tonumber(ARGV[3])
local hold, blank_hold = tonumber(ARGV[16]), tonumber(ARGV[19])
local first_item = 24

local AUTO, OPEN, CLOSED = 0, 2, 3          -- queue.Mode; hold needs no name
local VISITOR = 3600000                     -- queue.visitorUnits
local SLOT_MARGIN = 10000000                -- queue.SlotMargin
local MAX_STEP = 2000000                    -- queue.MaxStep
local LEAST_HOLD = 3000000                  -- queue.LeastHold
local NOTHING, PARTS, BEHIND, RESTARTED = 1, 2, 3, 4 -- queue.Found
local MAX_WORK = 1000                       -- most that one tick ends, moves and calls, each
local SLICE, PART = 1000000, 250            -- of the agenda: its time, and most ids in one string
local NEVER = -1                            -- a slice and a minute in which nothing is
local UNHEARD, QUESTION = 1, 63              -- of a visitor who came, and of whom nothing was heard since

local call = redis.call
local floor, max, min = math.floor, math.max, math.min
local sub, byte = string.sub, string.byte

-- Room time.
local wall
if ARGV[1] ~= '' then
  wall = tonumber(ARGV[1])
else
  local t = call('TIME')
  wall = tonumber(t[1]) * 1000000 + tonumber(t[2])
end
-- A key of ours goes when it is empty, so how many there are tells that one was lost.
local function count_keys()
  return call('EXISTS', waiting, present, agenda, soon, away, called, active, since, left, used)
end

local m = call('HMGET', meta, 'time', 'wall', 'generation', 'units', 'at', 'perhour', 'burst', 'last', 'front', 'calls',
  'run', 'keys', 'young', 'retried', 'most', 'shift')
local known_version = tonumber(call('HGET', overrides, 'version') or 0)
local fresh = version >= known_version
local now, units, at, perhour, burst
local known_generation, known_units, known_at = tonumber(m[3]), tonumber(m[4]), tonumber(m[5])
local known_perhour, known_burst = tonumber(m[6]), tonumber(m[7])
local known_last, known_front, known_calls = tonumber(m[8]), tonumber(m[9]), tonumber(m[10])
local last, front, calls = known_last or 0, known_front or 0, known_calls or 0
local generation = known_generation
local before = tonumber(m[1])
local known_retried = tonumber(m[14]) or 0
local known_most = tonumber(m[15]) or 0
local most = known_most -- see settle_most
local retried = known_retried -- when a second try of a newcomer was last carried out
-- Place time goes with room time, and on over an outage: a gate knows how far, or else
-- the clock of the server, which may have been set.
local placed, known_shift = tonumber(ARGV[21]), tonumber(m[16]) or 0
if before then
  local passed = max(wall - tonumber(m[2]), 0)
  now = before + min(passed, MAX_STEP)
  placed = max(placed, before + known_shift + (ARGV[22] == '1' and passed or min(passed, MAX_STEP)))
  units, at, perhour, burst = known_units, known_at, known_perhour, known_burst
else
  now = wall
  if placed == 0 or ARGV[22] == '1' then placed = max(placed, told + MAX_STEP, wall) end
  units, at, perhour, burst = 0, floor(now / 1000), tonumber(ARGV[6]), tonumber(ARGV[7])
end

-- Loss: the store is not what it was when the last call ended, or what a gate
-- remembers of it. What it has then may be too old, but is not wrong; what does not
-- fit together is dropped, and comes back with tickets and passes.
--
-- young is until when a loss matters, and y what is known of it; see queue.Loss.
local YOUNG = {'born', 'born_place', 'since', 'barrier', 'held', 'blank', 'ghost_active', 'ghost_called', 'seated', 'found', 'kept_line', 'kept_slots', 'before'}
local young, known_young = tonumber(m[13]) or 0, tonumber(m[13])
local is_young = now < young
local y, known_y = nil, {}
local function read_loss() -- when it is asked for: most calls do not
  if y or not is_young then return y end
  y = {}
  local values = call('HMGET', meta, unpack(YOUNG))
  for i = 1, #YOUNG do
    known_y[YOUNG[i]] = tonumber(values[i])
    y[YOUNG[i]] = known_y[YOUNG[i]] or 0
  end
  return y
end

-- hold_back: nobody with a place after the barrier is called for a time.
local function hold_back(time)
  y.held = max(y.held, now + time)
  young = max(young, y.held)
end

-- remember: it was not the first start, though no gate remembers another one.
local function remember()
  y.blank = 0
  units, at = min(units, 0), floor(now / 1000)
end

local function forget_line()
  local slices = call('ZRANGE', agenda, 0, -1)
  if #slices == 0 then -- lost, perhaps: its lists are those of the next minutes
    for i = -10, 1000 do slices[#slices + 1] = floor(now / SLICE) + i end
  end
  for i = 1, #slices do call('UNLINK', agenda .. ':' .. slices[i]) end
  call('UNLINK', waiting, present, agenda, soon)
end

-- ghosts: slots of visitors who were inside before the loss and have not been heard
-- of since.
local function ghosts()
  if not read_loss() then return 0 end
  local n = 0
  if now < y.born + session + SLOT_MARGIN then n = y.ghost_active end
  if now < y.born + claim_within then n = n + y.ghost_called end
  return max(n - y.seated, 0)
end

-- index_used: where what tells of the minutes is gone, they are looked for, of a day.
local function index_used()
  if call('EXISTS', used) == 1 then return end
  local latest = floor(placed / 60000000)
  for minute = latest - 1440, latest do
    if call('EXISTS', used .. ':' .. minute) == 1 then call('ZADD', used, now + used_for, minute) end
  end
end

-- lose begins a new generation, before anything is done to the old one.
local function lose(found, line_whole, slots_whole)
  local was, inside = read_loss(), max(call('HLEN', since), call('ZCARD', called) + call('ZCARD', active)) + ghosts()
  local kept_line = line_whole and call('ZCARD', waiting) or 0
  local kept_slots = slots_whole and call('ZCARD', called) + call('ZCARD', active) or 0
  local keys = count_keys()
  if not line_whole then forget_line() end
  if not slots_whole then call('UNLINK', called, active, since) end
  call('UNLINK', ladder)
  index_used()
  y = {blank = 0, since = 0, held = 0, found = found, barrier = 0, before = before or 0, ghost_active = 0, ghost_called = 0}
  y.kept_line, y.kept_slots, y.seated = kept_line, kept_slots, kept_slots
  calls, most = 0, 0
  units = 0
  local to_hold = max(hold, LEAST_HOLD)
  if not before and told == 0 and keys == 0 then
    y.blank = 1
    y.since = now - tonumber(ARGV[20])
    generation = floor(now / 1000000)
    units = burst * VISITOR
  else
    generation = max(known_generation or 0, said) + 1 + wall % 1021 -- queue.NextGeneration
    if line_whole and told - before <= MAX_STEP then y.barrier = last end
    if was and (now < was.held or was.blank == 1 and said > known_generation) then -- not all are back who were lost before
      y.barrier = min(y.barrier, was.barrier)
      to_hold = max(to_hold, was.held - now)
    end
    if before then
      now = max(now, told)
    elseif told > 0 then
      now = told + MAX_STEP
    else -- by a gate that remembers nothing
      generation = max(generation, floor(now / 1000000) + 1 + wall % 1021)
      to_hold = max(to_hold, blank_hold)
    end
    y.ghost_called = tonumber(ARGV[17])
    y.ghost_active = max(tonumber(ARGV[18]), inside - y.ghost_called)
  end
  if y.barrier == 0 then front = 0 end
  at = floor(now / 1000)
  y.born, y.born_place = now, placed
  young = now + max(session + SLOT_MARGIN, 2 * blank_hold)
  if y.blank == 0 then hold_back(to_hold) end
end

local run = redis.pcall('INFO', 'server') -- an error where a store has no such thing
do -- a pattern takes Redis ten times as long
  local at_id = type(run) == 'string' and string.find(run, 'run_id:', 1, true)
  run = at_id and sub(run, at_id + 7, at_id + 46) or ''
end
do
  local line_whole = call('HLEN', present) == call('ZCARD', waiting)
  local slots_whole = call('HLEN', since) == call('ZCARD', called) + call('ZCARD', active)
  local found = 0
  if not before then
    line_whole, found = false, NOTHING
  else
    if tonumber(m[12]) ~= count_keys() then
      found = PARTS
      -- A line of which all is gone looks as one that is empty does. And where nobody
      -- looks whether they are present, visitors would stand for ever.
      if line_whole and (call('ZCARD', waiting) == 0 or slots_whole and call('EXISTS', agenda, soon) < 2) then line_whole = false end
    end
    if not line_whole or not slots_whole then found = PARTS end
    if found == 0 and (said > generation or said == generation and told > before) then found = BEHIND end
    if found == 0 and m[11] ~= run then found = RESTARTED end
  end
  if found > 0 then
    lose(found, line_whole, slots_whole)
  else
    if told > now then
      -- By a gate that remembers another generation. Nothing is earned by it, and nobody
      -- has had the time to come back.
      at = at + floor(told / 1000) - floor(now / 1000)
      if read_loss() then
        y.born, young = y.born + told - now, young + told - now
        if y.held > 0 then y.held = y.held + told - now end
      end
      now = told
    end
    if said > 0 and said < generation and read_loss() then
      if y.barrier > 0 and told > before and told - y.before > MAX_STEP then
        y.barrier, front = 0, 0 -- more was lost than the first gate knew of
      end
      if y.blank == 1 then
        remember()
        hold_back(max(hold, LEAST_HOLD))
      elseif now < y.held then
        hold_back(hold)
      end
      if now < y.held then
        y.ghost_active, y.ghost_called = max(y.ghost_active, tonumber(ARGV[18])), max(y.ghost_called, tonumber(ARGV[17]))
      end
    end
  end
end

-- A server without memory left refuses a script, before it has done anything, whose
-- first write may take some. Here is written all the same what ends what was begun: those
-- who wait were given their places, and whoever is let in or leaves makes room.
local is_full = false
if ARGV[23] == '1' then
  local answer = redis.pcall('HSET', meta, 'wall', wall)
  is_full = type(answer) == 'table' and answer.err ~= nil
  if is_full then call('HDEL', meta, '') end -- a first write that takes none
end

-- is_held: nobody with a place after the barrier may be called.
local function is_held() return read_loss() ~= nil and now < y.held end

-- born: place time when this generation began. What came later and is not known was
-- forgotten, not lost.
local born_at
local function born()
  born_at = born_at or y and y.born_place or tonumber(call('HGET', meta, 'born_place') or 0)
  return born_at
end

-- came_back: a visitor from before this generation came whom the store did not know. Of
-- room time or of place time, which begin as one.
local function came_back(instant)
  if read_loss() and y.blank == 1 and instant < y.since and now < y.born + 2 * blank_hold then
    remember()
    hold_back(blank_hold)
  end
end

-- Credit: queue.Credit.Settle. A gate that has not heard of the latest overrides
-- does not know the limits; what it says of them does not count.
if fresh then
  local gone = floor(now / 1000) - at
  if gone > 0 then
    at = at + gone
    if perhour > 0 then
      local space = burst * VISITOR - units
      if gone >= floor(space / perhour) + 1 then
        units = units + space
      else
        units = min(units + gone * perhour, units + space)
      end
    end
  end
  perhour, burst = tonumber(ARGV[6]), tonumber(ARGV[7])
  units = min(units, burst * VISITOR)
end

-- callable: queue.Credit.Callable. How many are inside is only known after a loss when
-- every gate was heard.
local function callable(slots)
  if mode ~= AUTO or not fresh then return 0 end
  if max_active > 0 and read_loss() and y.blank == 0 and now < y.born + LEAST_HOLD then return 0 end
  local n = math.huge
  if perhour > 0 then n = floor(units / VISITOR) end
  if max_active > 0 then n = min(n, max_active - slots - ghosts()) end
  return max(n, 0)
end

-- settle_most keeps the most who may be inside: max_active, but as many as were inside
-- when it was lowered, as far as they still are. 0 is any number: there is no limit, or the
-- room is open, or something was lost; and whoever comes back was inside before, until
-- somebody is called by the limit again.
local function settle_most(slots)
  if not fresh then return end
  if mode == OPEN or max_active == 0 then
    most = 0
  elseif most > 0 then
    most = max(max_active, min(most, slots + ghosts()))
  end
end

local function spend(n)
  if n > 0 then most = max_active end
  if perhour > 0 then units = units - n * VISITOR end
end

-- save writes what changed: Redis spends a microsecond on making text of a number.
local function save()
  local changed, k = {'time', now, 'wall', wall}, 4
  local function keep(name, value, known)
    if value ~= known then
      changed[k + 1], changed[k + 2] = name, value
      k = k + 2
    end
  end
  keep('generation', generation, known_generation)
  keep('units', units, known_units)
  keep('at', at, known_at)
  keep('perhour', perhour, known_perhour)
  keep('burst', burst, known_burst)
  keep('last', last, known_last)
  keep('front', front, known_front)
  keep('calls', calls, known_calls)
  keep('most', most, known_most)
  keep('run', run, m[11])
  keep('keys', count_keys(), tonumber(m[12]))
  keep('young', young, known_young)
  keep('retried', retried, known_retried)
  keep('shift', placed - now, known_shift)
  if y then
    for i = 1, #YOUNG do keep(YOUNG[i], y[YOUNG[i]], known_y[YOUNG[i]]) end
  end
  call('HSET', meta, unpack(changed))
end

-- slot_end: until when the slot of a session that was used at an instant lives.
local function slot_end(used_at, idle, called_at)
  local e = used_at + idle
  if max_session > 0 then e = min(e, called_at + max_session) end
  return e + SLOT_MARGIN
end

-- called_since: when a called or active visitor was called, nil when nobody knows,
-- and the place of one let in on the spot; and of one not heard of, what to note
-- once they are.
local function called_since(id)
  local note = call('HGET', since, id)
  if not note then return nil end
  local at_text, place = string.match(note, '^(%d+) ?(%d*)')
  return tonumber(at_text), tonumber(place), byte(note, -1) == QUESTION and sub(note, 1, -2) or nil
end

-- instant reads 8 bytes, the highest first, but for the first of them, which says
-- whether its visitor was heard of.
local function instant(bytes, from)
  local a, b, c, d, e, f, g = byte(bytes, from + 1, from + 7)
  return (((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f) * 256 + g
end

-- The agenda: when to look whether a visitor in line is still present. A mark writes
-- the new deadline and nothing else; whoever is looked at and was marked since is
-- looked at again when the new deadline comes. Nobody's deadline moves earlier while
-- they are in line, so no look comes too late. An order of all deadlines would have
-- to be kept by every mark, which costs three times as much where a million wait.
local to_note, slices = {}, {}
local function look_at(id, till)
  local slice = floor(till / SLICE)
  local ids = to_note[slice]
  if ids then
    ids[#ids + 1] = id
  else
    to_note[slice] = {id}
    slices[#slices + 1] = slice
  end
end

-- note writes down who is to be looked at. A list that is new in a slice that is not
-- was lost: the slice NEVER, of which there is no list, has the next tick find that.
local function note()
  if #slices == 0 then return end
  local args, new = {}, 0
  for i = 1, #slices do
    local slice = slices[i]
    local ids = to_note[slice]
    local parts, length = 0, 0
    for from = 1, #ids, PART do
      length = call('RPUSH', agenda .. ':' .. slice, table.concat(ids, '', from, min(from + PART - 1, #ids)))
      parts = parts + 1
    end
    if length == parts then new = new + 1 end
    args[2 * i - 1], args[2 * i] = slice, slice
  end
  if call('ZADD', agenda, unpack(args)) < new then call('ZADD', agenda, NEVER, NEVER) end
  to_note, slices = {}, {}
end

-- Used tickets: 8-byte ids strung together, in a field for each of 1024 parts of
-- the ids, in a hash for each minute of places: about 16 bytes a ticket. The
-- minute follows from the place, which no ticket ever changes.
local function used_field(place, id)
  local minute = floor(place / 60000000)
  return used .. ':' .. minute, id:byte(8) + 256 * (id:byte(7) % 4), minute
end

local function holds(packed, id)
  local from = 1
  while packed do
    local i = string.find(packed, id, from, true)
    if not i then return false end
    if i % 8 == 1 then return true end
    from = i + 1
  end
  return false
end

local function is_used(id, place)
  local key, field = used_field(place, id)
  return holds(call('HGET', key, field), id)
end

local function use_up(id, place, till)
  local key, field, minute = used_field(place, id)
  local packed = call('HGET', key, field)
  if not holds(packed, id) then call('HSET', key, field, (packed or '') .. id) end
  local known = call('ZSCORE', used, minute)
  if known and not packed and call('HLEN', key) == 1 then call('ZADD', used, till, NEVER) end -- the others were lost: as in note
  if not known or tonumber(known) < till then call('ZADD', used, till, minute) end
end
