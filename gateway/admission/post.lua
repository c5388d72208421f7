-- Count units that were booked outside of calls: posted usage, or a correction (then below 0). Atomic. evictions.lua,
-- followers.lua and counter.lua come before it.
--
-- KEYS[1]   the mark, see trust.py   KEYS[2..]  quota counters of one account, as in admit.lua
-- ARGV[..]  for each counter: units; ms since the epoch to keep it until, if it has to be made
--           empty: it is not made, because its period is over
--
-- A counter never falls below 0. None is made where nobody vouches for the others: it would be believed, and the
-- rebuild that is to come finds these units in the ledger.

local told = {}
for i = 2, #KEYS do told[KEYS[i]] = OWN end
for i = 2, #KEYS do
  local units, keep_until_ms = tonumber(ARGV[2 * i - 3]), ARGV[2 * i - 2]
  local used, on_top = units_in(KEYS[i])
  if used or (keep_until_ms ~= '' and redis.call('GET', KEYS[1]) and has_kept_all(KEYS[1])) then
    local sum = math.max(0, (used or 0) + units)
    if used or sum > 0 then say(KEYS[i], sum, on_top, used, keep_until_ms) end
    if on_top > 0 then tell_followers(KEYS[i], units, told) end
  end
end
