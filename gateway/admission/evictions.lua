-- Whether the server has dropped keys to make room since the ledger vouched for its counters. It should never do so
-- (noeviction); but who sets another maxmemory-policy at runtime must not give quotas away.
--
-- <mark>:evicted   beside the mark, see trust.py: how many keys it had dropped when the mark was set; missing: none

local function evicted()
  return string.match(redis.call('INFO', 'stats'), 'evicted_keys:(%d+)') or '0'
end

-- False after the mark was taken away: a counter that is missing may be one that was dropped.
local function has_kept_all(mark)
  if evicted() == (redis.call('GET', mark .. ':evicted') or '0') then return true end
  redis.call('DEL', mark)
  return false
end
