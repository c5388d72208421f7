-- Decide all charges of a call together: all of them are paid, or none. Atomic; a refusal charges nothing.
--
-- KEYS     the buckets, then the quota counters, then the sets of slots. One hash tag per account and mode, so one slot of a cluster:
--          tw:{<account id><l|t>}:b:<limit>                      a hash, see bucket.lua
--          tw:{<account id><l|t>}:q:<meter>:<per>:<start epoch>  a plain counter of units used
--          tw:{<account id><l|t>}:c:<concurrency limit>          a sorted set, see slots.lua
--          then, if a server is named, the mark that says for which one the ledger vouches, see trust.py. On a cluster
--          it is the mark of the hash slot, and buckets and sets that accounts share are in a call of their own
-- ARGV[1]  now in ms, for tests; empty in production: Redis's own time, so gateways with skewed clocks agree
-- ARGV[2]  deadline in ms by the same clock: later than that the caller has given up. 0: none
-- ARGV[3]  holder: who buys in advance, empty: nobody   ARGV[4]  hold_ms: how long its tokens may be spent
-- ARGV[5]  calls alike to charge: as many as can pay   ARGV[6]  calls wanted beyond these   ARGV[7]  calls the holder still holds
--          Below 0: so many are wanted also when tokens and units are scarce.
-- ARGV[8]  number of buckets   ARGV[9]  number of sets of slots
-- ARGV[10] the server whose quota counters the ledger must vouch for; empty: nobody asks
-- ARGV[11] 1: for all counters of this call, 0: for those that are missing
--          then for each bucket:   tokens   period_ms   burst   cost
--          then for each quota:    amount   cost   start_ms   end_ms of the period   first   marks
--                                  first: units at which the first threshold is reached, empty: there is none;
--                                  marks: all of them, see thresholds.lua
--          then, if there are sets of slots:   slot: what this call's are called, empty: none   slot_ms
--          then for each of these:   most
--          A cost below 0 is that of a shadow or of a soft quota: what it can not pay refuses nothing, a bucket is
--          not charged then and a quota is. `wait_ms` tells, when the call is admitted; when others refuse it is 0.
-- returns  {status, now in ms, calls granted beyond, calls charged, then for each charge: left, wait_ms,
--          then for each set: slots in use, this call's among them}
--          status 0 refused, not even one can pay: `wait_ms` > 0 where a retry has to wait · 1 admitted · 2 too late, nothing charged
--                 3 now is outside a period given, nothing charged. `left` may be negative after a tier change.
--                 4 the ledger does not vouch for a quota counter, nothing charged
--
-- Slices, the rule of slices.py: a bucket gives a 16th of its tokens and stays half full, a quota gives a 64th
-- of what remains while that is 4096 or more; the smallest of these, and never more than wanted. Wanted though they
-- are scarce, they need not stay half full and there is no 4096.

local BUCKET_SHARE, QUOTA_SHARE, QUOTA_PLENTY = 16, 64, 4096
local AFTER_PERIOD_MS = 3600000  -- a call that ends after its period may still be refunded

local now = now_ms(ARGV[1])
local deadline = tonumber(ARGV[2])
if deadline > 0 and now >= deadline then return {2, now, 0, 0} end

local holder, hold_ms = ARGV[3], tonumber(ARGV[4])
local calls, wanted, held = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local bucket_count, set_count = tonumber(ARGV[8]), tonumber(ARGV[9])
local server, distrust = ARGV[10], ARGV[11] == '1'
local first_set = #KEYS - set_count + (server == '' and 1 or 0)
local scarce, wanted = wanted < 0, math.abs(wanted)
local one = math.min(calls, 1)
local buckets, quotas, reply, passes = {}, {}, {1, now, 0, 0}, true
local position = 12

for i = 1, bucket_count do
  local tokens, period, burst, cost = unpack(ARGV, position, position + 3)
  local bucket = load_bucket(KEYS[i], tonumber(tokens), tonumber(period), tonumber(burst), now, hold_ms)
  bucket.cost, bucket.shadow = math.abs(tonumber(cost)), tonumber(cost) < 0
  bucket.wait = bucket_wait_ms(bucket, one * bucket.cost, now)
  passes = passes and (bucket.wait == 0 or bucket.shadow)
  buckets[i], position = bucket, position + 4
end

local function is_vouched_for(fresh)
  local mark = KEYS[#KEYS]
  return redis.call('GET', mark) == server and (not fresh or has_kept_all(mark))
end

for i = bucket_count + 1, first_set - 1 do
  local amount, cost, starts, ends, first, marks = unpack(ARGV, position, position + 5)
  local quota = {key = KEYS[i], cost = math.abs(tonumber(cost)), shadow = tonumber(cost) < 0,
                 ends = tonumber(ends), wait = 0, amount = amount, first = tonumber(first), marks = marks}
  if now < tonumber(starts) or now >= quota.ends then return {3, now, 0, 0} end
  local used = redis.call('GET', quota.key)
  quota.fresh = not used
  if server ~= '' and not quota.shadow and (distrust or quota.fresh) and not is_vouched_for(quota.fresh) then
    return {4, now, 0, 0}
  end
  quota.remaining = tonumber(amount) - tonumber(used or 0)
  if one * quota.cost > 0 and quota.remaining < quota.cost then quota.wait = quota.ends - now end
  passes = passes and (quota.wait == 0 or quota.shadow)
  quotas[#quotas + 1], position = quota, position + 6
end

local slot, slot_ms, in_use = '', 0, {}
if set_count > 0 then
  slot, slot_ms = ARGV[position], tonumber(ARGV[position + 1])
  for i = 1, set_count do
    in_use[i] = slots_in_use(KEYS[first_set + i - 1], now, slot_ms)
    passes = passes and (slot == '' or in_use[i] < tonumber(ARGV[position + 1 + i]))
  end
end

local function wait_of(charge)
  return charge.shadow and not passes and 0 or charge.wait
end

local function report()
  for _, bucket in ipairs(buckets) do
    reply[#reply + 1] = math.floor(bucket.level / bucket.period)
    reply[#reply + 1] = wait_of(bucket)
  end
  for _, quota in ipairs(quotas) do
    reply[#reply + 1] = quota.remaining
    reply[#reply + 1] = wait_of(quota)
  end
  for i = 1, set_count do reply[#reply + 1] = in_use[i] end
  return reply
end

local function tell(quota)
  local used = tonumber(quota.amount) - quota.remaining
  if quota.first and used >= quota.first then
    local of_slot = server ~= '' and string.match(KEYS[#KEYS], ':{%d+}$') or ''
    tell_thresholds(quota, used, now, quota.ends - now + AFTER_PERIOD_MS, 'tw:quota-events' .. of_slot)
  end
end

if not passes then
  reply[1] = 0
  for _, quota in ipairs(quotas) do
    if calls > 0 then tell(quota) end
  end
  return report()
end

-- Of calls alike those are charged that pay in one way: a shadow or a soft quota can pay all of them, or none.
local function as_many_as(there, cost)
  calls = math.min(calls, math.floor(there / cost))
  if calls * cost > there then calls = calls - 1 end  -- the quotient was rounded
end
if calls > 1 then
  for _, bucket in ipairs(buckets) do
    if bucket.wait == 0 then as_many_as(bucket.level, bucket.cost * bucket.period) end
  end
  for _, quota in ipairs(quotas) do
    if quota.wait == 0 and quota.cost > 0 then as_many_as(quota.remaining, quota.cost) end
  end
end
reply[4] = calls

local extra = wanted
for _, bucket in ipairs(buckets) do
  if bucket.wait == 0 then bucket.level = bucket.level - calls * bucket.cost * bucket.period end
  local tokens = math.floor(bucket.level / bucket.period)
  local spare = scarce and tokens or math.floor(tokens - bucket.burst / 2)
  local slice = math.min(math.floor(tokens / BUCKET_SHARE), spare)
  extra = math.max(0, math.min(extra, math.floor(slice / bucket.cost)))
end
for _, quota in ipairs(quotas) do
  quota.remaining = quota.remaining - calls * quota.cost
  if quota.cost > 0 then
    local slice = 0
    if scarce or quota.remaining >= QUOTA_PLENTY then
      slice = math.max(0, math.floor(math.floor(quota.remaining / QUOTA_SHARE) / quota.cost))
    end
    extra = math.min(extra, slice)
  end
end
reply[3] = extra

for _, bucket in ipairs(buckets) do
  bucket.level = bucket.level - extra * bucket.cost * bucket.period
  if holder ~= '' then keep_hold(bucket, holder, (held + extra) * bucket.cost, now + hold_ms) end
  store_bucket(bucket, now, hold_ms)
end
for _, quota in ipairs(quotas) do
  local units = (calls + extra) * quota.cost
  if units > 0 then
    redis.call('INCRBY', quota.key, units)
    if quota.fresh then redis.call('PEXPIRE', quota.key, quota.ends - now + AFTER_PERIOD_MS) end
  end
  quota.remaining = quota.remaining - extra * quota.cost
  if calls + extra > 0 then tell(quota) end
end
if slot ~= '' then
  for i = 1, set_count do
    keep_slot(KEYS[first_set + i - 1], slot, now, slot_ms)
    in_use[i] = in_use[i] + 1
  end
end
return report()
