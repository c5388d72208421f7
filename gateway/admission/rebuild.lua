-- Raise quota counters to what the ledger says, and vouch for them, unless data was lost meanwhile. Atomic. evictions.lua,
-- followers.lua and counter.lua come before it.
--
-- KEYS[1]  the rebuild under way, see begin_rebuild.lua   KEYS[2]  the mark, see trust.py   then counters, as in admit.lua
-- ARGV[1]  its token   ARGV[2]  the server to vouch for once this is done; empty: not yet
--          then for each counter:   units   ms since the epoch to keep it until, if it has to be made
-- returns  1 done · 0 nothing was done: the token is gone, and so may be counters, or another rebuild has begun
--
-- Counters are only ever raised: calls go on charging those that were not lost.

local dropped = evicted()
if redis.call('GET', KEYS[1]) ~= ARGV[1] .. ':' .. dropped then return 0 end

for i = 3, #KEYS do
  local units, keep_until = tonumber(ARGV[2 * i - 3]), ARGV[2 * i - 2]
  local used, on_top = units_in(KEYS[i])
  if not used or used < units then say(KEYS[i], units, on_top, used, keep_until) end
end

if ARGV[2] ~= '' then
  redis.call('SET', KEYS[2], ARGV[2])
  if dropped == '0' then
    redis.call('DEL', KEYS[2] .. ':evicted')
  else
    redis.call('SET', KEYS[2] .. ':evicted', dropped)
  end
  redis.call('DEL', KEYS[1])
end
return 1
