-- Slots of calls under way, for admit.lua and keep_slots.lua, which are appended to this file. Twin of slot_set.py.
--
-- A set of slots is a sorted set: the names of slots, by the ms since the epoch at which they end. A slot that nobody
-- renews ends by itself, so the slots of a killed worker come back. A missing key is a set without slots.

local KEEP_SETS = 6  -- a key outlives its last slot a little: nobody has to know when that ends

-- How many slots are in use at `now`. Forgets those that have ended.
local function slots_in_use(key, now, slot_ms)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  local ahead = redis.call('ZRANGEBYSCORE', key, '(' .. string.format('%.0f', now + slot_ms), '+inf')
  for _, slot in ipairs(ahead) do  -- written by a clock that was ahead
    redis.call('ZADD', key, now + slot_ms, slot)
  end
  return redis.call('ZCARD', key)
end

local function keep_slot(key, slot, now, slot_ms)
  redis.call('ZADD', key, now + slot_ms, slot)
  redis.call('PEXPIRE', key, KEEP_SETS * slot_ms)
end
