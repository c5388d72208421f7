-- Quota counters for rebuild.lua, mend.lua, post.lua and move.lua, which are appended to this file: admit.lua, which
-- charges them, asks for no more than that they are there. followers.lua comes before it.

-- What a counter says, false if there is none, and what is on top of that: 0, or MOVED. What is no number of units is
-- none: it is written anew from the ledger.
local function units_in(key)
  local text = redis.pcall('GET', key)
  local digits = type(text) == 'string' and string.match(text, '^%-?(%d+)$')
  local units = digits and #digits < 18 and tonumber(text)
  if units and units >= MOVED then return units - MOVED, MOVED end
  return units, 0
end

-- Let a counter say so many units on top of that, and keep it as long as it was, or else until then.
local function say(key, units, on_top, is_there, keep_until)
  local text = string.format('%.0f', math.min(units, MOVED - 1) + on_top)
  if is_there then
    redis.call('SET', key, text, 'KEEPTTL')
  else
    redis.call('SET', key, text, 'PXAT', keep_until)
  end
end
