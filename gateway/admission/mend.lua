-- Set a quota counter right, unless it was touched meanwhile. Atomic. evictions.lua, followers.lua and
-- counter.lua come before it.
--
-- KEYS[1]  the counter, as in admit.lua   KEYS[2]  the mark, see trust.py: without it no counter is made
-- ARGV[1]  units it should say   ARGV[2]  ms since the epoch to keep it until, if it has to be made
-- ARGV[3]  units it said when it was looked at: it is lowered only if it still does. Empty: it is only ever raised
-- returns  1 when it was changed, else 0

local units = tonumber(ARGV[1])
local used, on_top = units_in(KEYS[1])
local is_less = (used or 0) < units
if is_less and not used and (not redis.call('GET', KEYS[2]) or not has_kept_all(KEYS[2])) then return 0 end
if is_less or (used and used == tonumber(ARGV[3]) and used > units) then
  say(KEYS[1], units, on_top, used, ARGV[2])
  return 1
end
return 0
