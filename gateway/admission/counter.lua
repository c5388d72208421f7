-- Quota counters for rebuild.lua, mend.lua and post.lua, which are appended to this file: admit.lua, which charges them,
-- asks for no more than that they are there.

-- What a counter says; false if there is none. What is no number of units is none: it is written anew from the ledger.
local function units_in(key)
  local text = redis.pcall('GET', key)
  local digits = type(text) == 'string' and string.match(text, '^%-?(%d+)$')
  return digits and #digits < 18 and tonumber(text)
end
