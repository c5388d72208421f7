-- Count units that were booked outside of calls: posted usage, or a correction (then below 0). Atomic. evictions.lua,
-- followers.lua and counter.lua come before it.
--
-- KEYS[1]  a quota counter, as in admit.lua   KEYS[2]  the mark, see trust.py
-- ARGV[1]  units   ARGV[2]  ms since the epoch to keep the counter until, if it has to be made
--          empty: it is not made, because its period is over
-- returns  what the counter says now
--
-- A counter never falls below 0. None is made where nobody vouches for the others: it would be believed, and the
-- rebuild that is to come finds these units in the ledger.

local used, on_top = units_in(KEYS[1])
if not used and (ARGV[2] == '' or not redis.call('GET', KEYS[2]) or not has_kept_all(KEYS[2])) then return 0 end
local units = math.max(0, (used or 0) + tonumber(ARGV[1]))
if used or units > 0 then say(KEYS[1], units, on_top, used, ARGV[2]) end
if on_top > 0 then tell_followers(KEYS[1], tonumber(ARGV[1]), {}) end
return string.format('%.0f', units)
