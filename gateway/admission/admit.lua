-- Decide calls, one after the other. Each pays all its charges together, or none; a refusal charges nothing. Atomic.
--
-- KEYS     of each call the buckets, then the quota counters, then the sets of slots. One hash tag per account and mode:
--          tw:{<account id><l|t>}:b:<limit>                      a hash, see bucket.lua
--          tw:{<account id><l|t>}:q:<meter>:<per>:<start epoch>  a plain counter of units used
--          tw:{<account id><l|t>}:c:<concurrency limit>          a sorted set, see slots.lua
--          At the end, if a server is named, the mark that says for which one the ledger vouches, see trust.py.
--          On a cluster there is one call, so that all keys lie in one slot: the mark is that of the slot, and buckets
--          and sets that accounts share are in a call of their own
-- ARGV[1]  now in ms, for tests; empty in production: Redis's own time, so gateways with skewed clocks agree
-- ARGV[2]  deadline in ms by the same clock: later than that the callers have given up. 0: none
-- ARGV[3]  hold_ms: how long tokens bought in advance may be spent   ARGV[4]  slot_ms: how long a slot lasts
-- ARGV[5]  the server whose quota counters the ledger must vouch for; empty: nobody asks
-- ARGV[6]  1: for all counters of these calls, 0: for those that are missing
-- ARGV[7]  number of forms, what calls have in common; then for each form:
--            holder: who buys in advance, empty: nobody   calls alike to charge: as many as can pay
--            calls wanted beyond these; below 0: so many also when tokens and units are scarce
--            calls the holder still holds   number of buckets   of quotas   of sets of slots
--            then for each bucket:   tokens   period_ms   burst   cost
--            then for each quota:    amount   cost   start_ms   end_ms of the period   first   marks
--                                    first: units at which the first threshold is reached, empty: there is none;
--                                    marks: all of them, see thresholds.lua
--            then for each set:      most slots in it
--            A cost below 0 is that of a shadow or of a soft quota: what it can not pay refuses nothing, a bucket is
--            not charged then and a quota is. `wait_ms` tells, when the call is admitted; when others refuse it is 0.
--          then for each call: its form, and if that has sets of slots: what this call's are called, empty: none
-- returns  {now in ms, then for each call: {status, calls granted beyond, calls charged,
--          then for each charge: left, wait_ms, then for each set: slots in use, this call's among them}}
--          Nothing but now: it is past the deadline, and nothing was charged.
--          status 0 refused, not even one can pay: `wait_ms` > 0 where a retry has to wait · 1 admitted
--                 3 now is outside a period given, nothing charged. `left` may be negative after a tier change.
--                 4 the ledger does not vouch for a quota counter, nothing charged
--          An error in the place of a call is its own; that of the first is the error of all, and nothing was charged.
--
-- Slices, the rule of slices.py: a bucket gives a 16th of its tokens and stays half full, a quota gives a 64th
-- of what remains while that is 4096 or more; the smallest of these, and never more than wanted. Wanted though they
-- are scarce, they need not stay half full and there is no 4096.

local BUCKET_SHARE, QUOTA_SHARE, QUOTA_PLENTY = 16, 64, 4096
local AFTER_PERIOD_MS = 3600000  -- a call that ends after its period may still be refunded

local now = now_ms(ARGV[1])
local deadline = tonumber(ARGV[2])
if deadline > 0 and now >= deadline then return {now} end

local hold_ms, slot_ms = tonumber(ARGV[3]), tonumber(ARGV[4])
local server, distrust = ARGV[5], ARGV[6] == '1'
local events = 'tw:quota-events' .. (server ~= '' and string.match(KEYS[#KEYS], ':{%d+}$') or '')

-- The form that begins at a position of ARGV, and where it ends.
local function read_form(position)
  local holder, calls, wanted, held, buckets, quotas, sets = unpack(ARGV, position, position + 6)
  local form = {holder = holder, calls = tonumber(calls), wanted = math.abs(tonumber(wanted)),
                scarce = tonumber(wanted) < 0, held = tonumber(held), buckets = {}, quotas = {}, most = {}}
  position = position + 7
  for i = 1, tonumber(buckets) do
    local tokens, period, burst, cost = unpack(ARGV, position, position + 3)
    form.buckets[i] = {tokens = tonumber(tokens), period = tonumber(period), burst = tonumber(burst),
                       cost = math.abs(tonumber(cost)), shadow = tonumber(cost) < 0}
    position = position + 4
  end
  for i = 1, tonumber(quotas) do
    local amount, cost, starts, ends, first, marks = unpack(ARGV, position, position + 5)
    form.quotas[i] = {amount = amount, cost = math.abs(tonumber(cost)), shadow = tonumber(cost) < 0,
                      starts = tonumber(starts), ends = tonumber(ends), first = tonumber(first), marks = marks}
    position = position + 6
  end
  for i = 1, tonumber(sets) do
    form.most[i] = tonumber(ARGV[position])
    position = position + 1
  end
  return form, position
end

local function is_vouched_for(fresh)
  local mark = KEYS[#KEYS]
  return redis.call('GET', mark) == server and (not fresh or has_kept_all(mark))
end

local function tell(quota)
  local used = tonumber(quota.amount) - quota.remaining
  if quota.first and used >= quota.first then
    tell_thresholds(quota, used, now, quota.ends - now + AFTER_PERIOD_MS, events)
  end
end

-- How many of `calls` such charges can pay.
local function as_many_as(calls, there, cost)
  calls = math.min(calls, math.floor(there / cost))
  if calls * cost > there then calls = calls - 1 end  -- the quotient was rounded
  return calls
end

local function report(reply, passes, buckets, quotas, in_use)
  for _, bucket in ipairs(buckets) do
    reply[#reply + 1] = math.floor(bucket.level / bucket.period)
    reply[#reply + 1] = bucket.shadow and not passes and 0 or bucket.wait
  end
  for _, quota in ipairs(quotas) do
    reply[#reply + 1] = quota.remaining
    reply[#reply + 1] = quota.shadow and not passes and 0 or quota.wait
  end
  for _, number in ipairs(in_use) do reply[#reply + 1] = number end
  return reply
end

-- The reply about one call whose keys begin at `key`.
local function decide(form, key, slot)
  local calls = form.calls
  local one = math.min(calls, 1)
  local buckets, quotas, in_use, passes = {}, {}, {}, true

  for i, paid in ipairs(form.buckets) do
    local bucket = load_bucket(KEYS[key], paid.tokens, paid.period, paid.burst, now, hold_ms)
    bucket.cost, bucket.shadow = paid.cost, paid.shadow
    bucket.wait = bucket_wait_ms(bucket, one * bucket.cost, now)
    passes = passes and (bucket.wait == 0 or bucket.shadow)
    buckets[i], key = bucket, key + 1
  end

  for i, paid in ipairs(form.quotas) do
    if now < paid.starts or now >= paid.ends then return {3, 0, 0} end
    local used = redis.call('GET', KEYS[key])
    if server ~= '' and not paid.shadow and (distrust or not used) and not is_vouched_for(not used) then
      return {4, 0, 0}
    end
    local quota = {key = KEYS[key], cost = paid.cost, shadow = paid.shadow, ends = paid.ends, wait = 0,
                   amount = paid.amount, first = paid.first, marks = paid.marks, fresh = not used}
    quota.remaining = tonumber(paid.amount) - tonumber(used or 0)
    if one * quota.cost > 0 and quota.remaining < quota.cost then quota.wait = quota.ends - now end
    passes = passes and (quota.wait == 0 or quota.shadow)
    quotas[i], key = quota, key + 1
  end

  local first_set = key
  for i, most in ipairs(form.most) do
    in_use[i] = slots_in_use(KEYS[first_set + i - 1], now, slot_ms)
    passes = passes and (slot == '' or in_use[i] < most)
  end

  if not passes then
    for _, quota in ipairs(quotas) do
      if calls > 0 then tell(quota) end
    end
    return report({0, 0, 0}, passes, buckets, quotas, in_use)
  end

  -- Of calls alike those are charged that pay in one way: a shadow or a soft quota can pay all of them, or none.
  if calls > 1 then
    for _, bucket in ipairs(buckets) do
      if bucket.wait == 0 then calls = as_many_as(calls, bucket.level, bucket.cost * bucket.period) end
    end
    for _, quota in ipairs(quotas) do
      if quota.wait == 0 and quota.cost > 0 then calls = as_many_as(calls, quota.remaining, quota.cost) end
    end
  end

  local extra = form.wanted
  for _, bucket in ipairs(buckets) do
    if bucket.wait == 0 then bucket.level = bucket.level - calls * bucket.cost * bucket.period end
    local tokens = math.floor(bucket.level / bucket.period)
    local spare = form.scarce and tokens or math.floor(tokens - bucket.burst / 2)
    local slice = math.min(math.floor(tokens / BUCKET_SHARE), spare)
    extra = math.max(0, math.min(extra, math.floor(slice / bucket.cost)))
  end
  for _, quota in ipairs(quotas) do
    quota.remaining = quota.remaining - calls * quota.cost
    if quota.cost > 0 then
      local slice = 0
      if form.scarce or quota.remaining >= QUOTA_PLENTY then
        slice = math.max(0, math.floor(math.floor(quota.remaining / QUOTA_SHARE) / quota.cost))
      end
      extra = math.min(extra, slice)
    end
  end

  for _, bucket in ipairs(buckets) do
    bucket.level = bucket.level - extra * bucket.cost * bucket.period
    if form.holder ~= '' then
      keep_hold(bucket, form.holder, (form.held + extra) * bucket.cost, now + hold_ms)
    end
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
    for i = 1, #in_use do
      keep_slot(KEYS[first_set + i - 1], slot, now, slot_ms)
      in_use[i] = in_use[i] + 1
    end
  end
  return report({1, extra, calls}, passes, buckets, quotas, in_use)
end

local forms, position, key = {}, 8, 1
for n = 1, tonumber(ARGV[7]) do forms[n], position = read_form(position) end

local replies = {now}
while position <= #ARGV do
  local form, slot = forms[tonumber(ARGV[position])], ''
  position = position + 1
  if #form.most > 0 then slot, position = ARGV[position], position + 1 end
  if #replies == 1 then
    replies[2] = decide(form, key, slot)
  else  -- those before it have been charged: what is wrong with its keys is no matter of theirs
    local is_decided, reply = pcall(decide, form, key, slot)
    if not is_decided then reply = {err = type(reply) == 'table' and reply.err or tostring(reply)} end
    replies[#replies + 1] = reply
  end
  key = key + #form.buckets + #form.quotas + #form.most
end
return replies
