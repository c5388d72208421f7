-- Thresholds of quotas, for admit.lua, which is appended to this file. Twin of thresholds.py.
--
-- tw:{<tag>}:t:<as its counter>   "<amount>:<percent>": the highest threshold told in the period, for that amount
-- tw:quota-events                 a hash of what was told and not yet fetched, by "<counter>|<amount>|<percent>":
--                                 "<ms>|<units used>|<end of the period in ms>|<quota>". On a cluster one for each
--                                 hash slot, tw:quota-events:{<tag>}, where the mark has a tag of the slot
--
-- What is told is what has been reached, not the step over it: a counter that was raised from the ledger, or an
-- amount that was lowered, tells with the next call. So does one that could not be told because these keys are on their
-- way to another node of a cluster: that must not break off a script that has charged. Refunds take nothing back.

local function is_error(reply)
  return type(reply) == 'table' and reply.err ~= nil
end

-- `events` is the name of the hash. `quota.marks` is "<units>:<percent> ... <quota>", ascending; `used` is at least the
-- first of these units.
local function tell_thresholds(quota, used, now, keep_ms, events)
  local key = string.gsub(quota.key, '}:q:', '}:t:', 1)
  local highest = 0
  local told = redis.pcall('GET', key)
  if is_error(told) then return end
  if told then
    local amount, percent = string.match(told, '^(%d+):(%d+)$')
    if tonumber(amount) == quota.amount then highest = tonumber(percent) end
  end
  local reached, of = highest, string.format('%.0f', quota.amount)
  for units, percent in string.gmatch(quota.marks, '(%d+):(%d+)') do
    if used >= tonumber(units) and tonumber(percent) > highest then
      local field = quota.key .. '|' .. of .. '|' .. percent
      local what = string.format('%.0f|%.0f|%.0f|%s', now, used, quota.ends, string.match(quota.marks, '%S+$'))
      if is_error(redis.pcall('HSET', events, field, what)) then return end
      reached = tonumber(percent)
    end
  end
  if reached > highest then
    redis.pcall('SET', key, of .. ':' .. reached, 'PX', string.format('%.0f', keep_ms))
  end
end
