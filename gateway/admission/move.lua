-- An account leaves quota counters for others, because of another tier or calendar: what was used goes along, and so does
-- what workers that have not heard of it yet go on charging. Atomic. evictions.lua, followers.lua and counter.lua come before
-- it.
--
-- KEYS[1]  the mark, see trust.py: without it no counter is made   then counters of one account and mode
-- ARGV[1]  ms that workers may take to hear of it   then for each counter:   left, kept or taken   its meter
--          units the ledger has in its period   ms since the epoch to keep it until, if it has to be made
-- returns  1
--
-- A counter that is taken says what the ledger has and what those before it were ahead of that at the same moment: what
-- is booked meanwhile is charged already.
-- A counter that is left has MOVED on top, and
-- tw:{<tag>}:f:<as its counter>   the counters taken for it, each behind a space: they are told what it is charged and what
--                                 comes back to it, see followers.lua
-- A counter that is taken beside one that stays misses what such workers charge: the comparison with the ledger raises it.

local follow_ms = ARGV[1]
local makes = redis.call('GET', KEYS[1]) and has_kept_all(KEYS[1])
local ahead, taken = {}, {}

local function said_of(i)
  return unpack(ARGV, 4 * i - 6, 4 * i - 3)
end

for i = 2, #KEYS do
  local role, meter, booked = said_of(i)
  local used = role ~= 'taken' and units_in(KEYS[i])
  if used then ahead[meter] = math.max(ahead[meter] or 0, used - tonumber(booked)) end
end

for i = 2, #KEYS do
  local role, meter, booked, keep_until = said_of(i)
  if role == 'taken' then
    local used = units_in(KEYS[i])
    local units = math.max(used or 0, tonumber(booked) + (ahead[meter] or 0))
    if used or makes then say(KEYS[i], units, 0, used, keep_until) end
    redis.call('DEL', (string.gsub(KEYS[i], '}:q:', '}:f:', 1)))
    taken[meter] = (taken[meter] or '') .. ' ' .. KEYS[i]
  end
end

for i = 2, #KEYS do
  local role, meter, _, keep_until = said_of(i)
  if role == 'left' and taken[meter] then
    local used = units_in(KEYS[i])
    if used or makes then
      say(KEYS[i], used or 0, MOVED, used, keep_until)
      redis.call('SET', (string.gsub(KEYS[i], '}:q:', '}:f:', 1)), taken[meter], 'PX', follow_ms)
    end
  end
end
return 1
