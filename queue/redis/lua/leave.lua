-- leave: visitors who go free their slots and places now. See Store.Leave.
--
-- Items: id, place, until of the pass (0: none).
-- Returns {now, generation, place time, then for each item: 1 slot freed, 2 place freed, 0 neither}.
local out = {now, generation, placed}

for i = first_item, #ARGV, 3 do
  local id, place, till = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local freed = 0
  local ends = call('ZSCORE', active, id) or call('ZSCORE', called, id)
  if ends then -- there may be a pass that is good as long as the slot
    till = max(till, tonumber(ends))
    call('ZREM', active, id)
    call('ZREM', called, id)
    call('HDEL', since, id)
    freed = 1
  elseif call('ZREM', waiting, id) == 1 then
    call('HDEL', present, id)
    freed = 2
  elseif call('ZREM', away, id) == 1 then
    freed = 2
  end
  till = max(now + used_for, till + 60000000)
  use_up(id, place, till)
  local known = call('ZSCORE', left, id)
  if not known or tonumber(known) < till then call('ZADD', left, till, id) end
  out[#out + 1] = freed
end

save()
return out
