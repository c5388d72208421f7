-- Renew or release slots of one account's calls. Atomic.
--
-- KEYS     the sets, see slots.lua
-- ARGV[1]  now in ms, for tests; empty in production: Redis's own time
-- ARGV[2]  deadline in ms by the same clock: later than that others were asked for. 0: none
-- ARGV[3]  slot_ms: how long the slots are kept from now on; 0: they are released
-- then for each set:   number of slots   their names
-- returns  {1 done | 2 too late: nothing was done, now in ms}
--
-- Renewing brings back a slot that has ended or was lost with Redis's data: its call is under way all the same.
-- Releasing one that has ended does nothing: no two slots are called the same.

local now = now_ms(ARGV[1])
local deadline, slot_ms = tonumber(ARGV[2]), tonumber(ARGV[3])
if deadline > 0 and now >= deadline then return {2, now} end

local position = 4
for _, key in ipairs(KEYS) do
  local count = tonumber(ARGV[position])
  for i = position + 1, position + count do
    if slot_ms > 0 then
      keep_slot(key, ARGV[i], now, slot_ms)
    else
      redis.call('ZREM', key, ARGV[i])
    end
  end
  position = position + 1 + count
end
return {1, now}
