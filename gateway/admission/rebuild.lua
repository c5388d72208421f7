-- Raise quota counters to what the ledger says, and vouch for them, unless data was lost meanwhile. Atomic.
--
-- KEYS[1]  the rebuild under way: its token   KEYS[2]  the mark, see trust.py   then counters, as in admit.lua
-- ARGV[1]  token   ARGV[2]  the server to vouch for once this is done; empty: not yet
--          then for each counter:   units   ms since the epoch to keep it until, if it has to be made
-- returns  1 done · 0 nothing was done: the token is gone, and so may be counters, or another rebuild has begun
--
-- Counters are only ever raised: calls go on charging those that were not lost.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end

for i = 3, #KEYS do
  local units, keep_until = ARGV[2 * i - 3], ARGV[2 * i - 2]
  local used = redis.call('GET', KEYS[i])
  if not used then
    redis.call('SET', KEYS[i], units, 'PXAT', keep_until)
  elseif tonumber(used) < tonumber(units) then
    redis.call('SET', KEYS[i], units, 'KEEPTTL')
  end
end

if ARGV[2] ~= '' then
  redis.call('SET', KEYS[2], ARGV[2])
  redis.call('DEL', KEYS[1])
end
return 1
