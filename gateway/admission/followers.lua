-- Quota counters that an account has left for others, see move.lua. For the scripts that charge counters, which are appended
-- to this file: what one of these says, what follows it is told, too.

local MOVED = 4503599627370496  -- 2^52, above what a counter counts; what says more was left
local OWN = 'own'               -- in `told`: a counter that these calls pay themselves

-- Charge units to the counters that follow `key`, or take them off if they are below 0, and to those that follow these.
-- `told` is what each of them was told for these calls, by name: who follows several is told of the most of them, once.
-- An error is none: that must not break off a script that has charged.
local function tell_followers(key, units, told)
  local names = redis.pcall('GET', (string.gsub(key, '}:q:', '}:f:', 1)))
  if type(names) ~= 'string' then return end
  for name in string.gmatch(names, '%S+') do
    local before = told[name] or 0
    local more = before ~= OWN and (units > 0 and math.max(0, units - before) or math.min(0, units - before)) or 0
    local text = more ~= 0 and redis.pcall('GET', name)
    local used = type(text) == 'string' and tonumber(text)
    if used then
      told[name] = before + more
      local is_left = used >= MOVED
      if is_left then used = used - MOVED end
      more = math.max(more, -math.max(0, used))
      redis.pcall('INCRBY', name, string.format('%.0f', more))
      if is_left then tell_followers(name, units, told) end
    end
  end
end
