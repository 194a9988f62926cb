-- renew: sessions that are in use live on. See Store.Renew.
--
-- Items: id, place, called, until (all three by the pass), when last used, extension asked for.
-- Returns {now, generation, place time, then for each item: until, flags}
-- with flags 1 gone, 2 claimed, 4 restored, 8 overshoot.
local GONE, CLAIMED, RESTORED, OVERSHOOT = 1, 2, 4, 8

local out = {now, generation, placed}
local n = 3
local function answer(till, flags)
  out[n + 1], out[n + 2] = till, flags
  n = n + 2
end

local slots = call('ZCARD', called) + call('ZCARD', active)
settle_most(slots)

-- seat: gives an id, wherever it is known, an active slot. Returns until when the
-- slot lives by what was promised so far, when the visitor was called, and what was done.
local function seat(id, place, called_at, promised)
  local ends = call('ZSCORE', active, id)
  if ends then
    if read_loss() then use_up(id, place, now + used_for) end -- that it was may be what was lost
    return tonumber(ends), called_since(id) or called_at, 0
  end
  if call('ZREM', called, id) == 1 then
    use_up(id, place, now + used_for)
    return promised, called_since(id) or called_at, CLAIMED
  end
  local done = RESTORED
  if call('ZREM', waiting, id) == 1 then
    call('HDEL', present, id)
    done = CLAIMED
  elseif call('ZREM', away, id) == 1 then
    done = CLAIMED
  end
  if done == RESTORED then came_back(called_at) end
  if read_loss() and called_at < y.born then y.seated = y.seated + 1 end
  if mode == AUTO and most > 0 and slots >= most then done = done + OVERSHOOT end
  slots = slots + 1
  call('HSET', since, id, called_at)
  use_up(id, place, now + used_for)
  return promised, called_at, done
end

for i = first_item, #ARGV, 6 do
  local id, place, called_at = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local used_at, extend = min(tonumber(ARGV[i + 4]), now), tonumber(ARGV[i + 5])
  local stored = called_since(id) or called_at
  local promised = tonumber(ARGV[i + 3]) + SLOT_MARGIN
  local over = max_session > 0 and stored + max_session <= now
  if over or call('ZSCORE', left, id) then
    answer(0, GONE)
  elseif max(promised, slot_end(used_at, max(session, extend), stored)) <= now
    and not call('ZSCORE', active, id) and not call('ZSCORE', called, id) then
    -- Long over: a gate tells of it so that the ticket gives no second session.
    if call('ZREM', waiting, id) == 1 then call('HDEL', present, id) end
    call('ZREM', away, id)
    use_up(id, place, now + used_for)
    answer(0, GONE)
  else
    local ends, started, done = seat(id, place, called_at, promised)
    local e = max(ends, slot_end(used_at, max(session, extend), started))
    call('ZADD', active, e, id)
    answer(e - SLOT_MARGIN, done)
  end
end

save()
return out
