-- Decide calls, one after the other. Each pays all its charges together, or none; a refusal charges nothing. Atomic.
--
-- KEYS     of each call the buckets, then the quota counters, then the sets of slots. One hash tag per account and mode:
--          tw:{<account id><l|t>}:b:<limit>                      a hash, see bucket.lua
--          tw:{<account id><l|t>}:q:<meter>:<per>:<start epoch>  a plain counter of units used; see also move.lua
--          tw:{<account id><l|t>}:c:<concurrency limit>          a sorted set, see slots.lua
--          At the end, if a server is named, the mark that says for which one the ledger vouches, see trust.py.
--          On a cluster there is one call, so that all keys lie in one slot: the mark is that of the slot, and buckets
--          and sets that accounts share are in a call of their own
-- Numbers go packed, many in one text, as `struct` packs them: Redis takes 0.2 us for each text it is told, and its answers
-- cost it more the more parts they have. All are little-endian, those told doubles, those answered whole ones of 8 bytes.
--
-- ARGV[1]  now in ms, for tests; empty in production: Redis's own time, so gateways with skewed clocks agree
-- ARGV[2]  packed:  deadline in ms by the same clock: later than that the callers have given up. 0: none
--                   hold_ms: how long tokens bought in advance may be spent   slot_ms: how long a slot lasts
--                   1: the ledger must vouch for all counters of these calls, 0: for those that are missing
--                   number of forms, what calls have in common
-- ARGV[3]  the server whose quota counters the ledger must vouch for; empty: nobody asks
--          then for each form:
--            holder: who buys in advance, empty: nobody
--            packed:  calls alike to charge: as many as can pay
--                     calls wanted beyond these; below 0: so many also when tokens and units are scarce
--                     calls the holder still holds   number of buckets   of quotas   of sets of slots
--                     then for each bucket:   tokens   period_ms   burst   cost
--                     then for each quota:    amount   cost   start_ms   end_ms of the period
--                                             units at which the first threshold is reached, below 0: there is none
--                     then for each set:      most slots in it
--            for each quota: the marks of its thresholds, see thresholds.lua
--            A cost below 0 is that of a shadow or of a soft quota: what it can not pay refuses nothing, a bucket is
--            not charged then and a quota is. `wait_ms` tells, when the call is admitted; when others refuse it is 0.
--          then the form of each call, a byte each; then for each call whose form has sets of slots: what its slots
--          are called, empty: it takes none
-- returns  packed:  now in ms, then for each call:  status   calls granted beyond   calls charged
--                   then for each charge: left   wait_ms   then for each set: slots in use, this call's among them
--          Nothing but now: it is past the deadline, and nothing was charged.
--          status 0 refused, not even one can pay: `wait_ms` > 0 where a retry has to wait · 1 admitted
--                 3 now is outside a period given, nothing charged. `left` may be negative after a tier change.
--                 4 the ledger does not vouch for a quota counter, nothing charged
--                 5 an error of this call alone. With 3, 4 and 5 the numbers behind are 0
--          If there are errors it is a list: the packed numbers, then what was wrong with each of these calls.
--          An error of the first call is that of all, and nothing was charged. So is that of a replica, whoever meets it.
--
-- Slices, the rule of slices.py: a bucket gives a 16th of its tokens and stays half full, a quota gives a 64th
-- of what remains while that is 4096 or more; the smallest of these, and never more than wanted. Wanted though they
-- are scarce, they need not stay half full and there is no 4096.

local BUCKET_SHARE, QUOTA_SHARE, QUOTA_PLENTY = 16, 64, 4096
local AFTER_PERIOD_MS = 3600000  -- a call that ends after its period may still be refunded

local now = now_ms(ARGV[1])
local deadline, hold_ms, slot_ms, distrust, form_count = unpack_numbers('<ddddd', ARGV[2])
local server = ARGV[3]
local answer, length = {now}, 1

local function packed_answer()
  return pack_numbers('<' .. string.rep('i8', length), unpack(answer))
end

if deadline > 0 and now >= deadline then return packed_answer() end

-- The form that begins at a position of ARGV, and where it ends.
local function read_form(position)
  local text = ARGV[position + 1]
  local told = {unpack_numbers('<' .. string.rep('d', #text / 8), text)}
  local buckets, quotas, sets = told[4], told[5], told[6]
  local form = {holder = ARGV[position], calls = told[1], wanted = math.abs(told[2]), scarce = told[2] < 0,
                held = told[3], buckets = {}, quotas = {}, most = {}, width = 3 + 2 * (buckets + quotas) + sets}
  position = position + 2
  local at = 7
  for i = 1, buckets do
    local tokens, period, burst, cost = unpack(told, at, at + 3)
    form.buckets[i] = {tokens = tokens, period = period, burst = burst, cost = math.abs(cost), shadow = cost < 0}
    at = at + 4
  end
  for i = 1, quotas do
    local amount, cost, starts, ends, first = unpack(told, at, at + 4)
    form.quotas[i] = {amount = amount, cost = math.abs(cost), shadow = cost < 0, starts = starts, ends = ends,
                      first = first >= 0 and first, marks = ARGV[position]}
    position, at = position + 1, at + 5
  end
  for i = 1, sets do form.most[i] = told[at + i - 1] end
  return form, position
end

local function is_vouched_for(fresh)
  local mark = KEYS[#KEYS]
  return call('GET', mark) == server and (not fresh or has_kept_all(mark))
end

local function tell(quota)
  local used = quota.amount - quota.remaining
  if quota.first and used >= quota.first then
    local events = 'tw:quota-events' .. (server ~= '' and string.match(KEYS[#KEYS], ':{%d+}$') or '')
    tell_thresholds(quota, used, now, quota.ends - now + AFTER_PERIOD_MS, events)
  end
end

local function all_own(quotas)
  local told = {}
  for _, quota in ipairs(quotas) do told[quota.key] = OWN end
  return told
end

-- How many of `calls` such charges can pay.
local function as_many_as(calls, there, cost)
  calls = min(calls, floor(there / cost))
  if calls * cost > there then calls = calls - 1 end  -- the quotient was rounded
  return calls
end

local function report(status, extra, calls, buckets, quotas, in_use)
  answer[length + 1], answer[length + 2], answer[length + 3] = status, extra, calls
  length = length + 3
  local passes = status == 1
  for _, bucket in ipairs(buckets) do
    answer[length + 1] = floor(bucket.level / bucket.period)
    answer[length + 2] = bucket.shadow and not passes and 0 or bucket.wait
    length = length + 2
  end
  for _, quota in ipairs(quotas) do
    answer[length + 1] = quota.remaining
    answer[length + 2] = quota.shadow and not passes and 0 or quota.wait
    length = length + 2
  end
  for i, number in ipairs(in_use) do answer[length + i] = number end
  length = length + #in_use
end

local function report_nothing(form, status)
  for i = 1, form.width do answer[length + i] = 0 end
  answer[length + 1] = status
  length = length + form.width
end

-- Decide one call whose keys begin at `key`, and say so.
local function decide(form, key, slot)
  local calls = form.calls
  local one = min(calls, 1)
  local buckets, quotas, in_use, passes = {}, {}, {}, true

  for i, paid in ipairs(form.buckets) do
    local bucket = load_bucket(KEYS[key], paid.tokens, paid.period, paid.burst, now, hold_ms)
    bucket.cost, bucket.shadow = paid.cost, paid.shadow
    bucket.wait = bucket_wait_ms(bucket, one * bucket.cost, now)
    passes = passes and (bucket.wait == 0 or bucket.shadow)
    buckets[i], key = bucket, key + 1
  end

  for i, paid in ipairs(form.quotas) do
    if now < paid.starts or now >= paid.ends then return report_nothing(form, 3) end
    local used = call('GET', KEYS[key])
    if server ~= '' and not paid.shadow and (distrust > 0 or not used) and not is_vouched_for(not used) then
      return report_nothing(form, 4)
    end
    local quota = {key = KEYS[key], cost = paid.cost, shadow = paid.shadow, ends = paid.ends, wait = 0,
                   amount = paid.amount, first = paid.first, marks = paid.marks, fresh = not used}
    used = tonumber(used or 0)
    if used >= MOVED then used, quota.moved = used - MOVED, true end
    quota.remaining = paid.amount - used
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
    return report(0, 0, 0, buckets, quotas, in_use)
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
    local tokens = floor(bucket.level / bucket.period)
    local spare = form.scarce and tokens or floor(tokens - bucket.burst / 2)
    local slice = min(floor(tokens / BUCKET_SHARE), spare)
    extra = max(0, min(extra, floor(slice / bucket.cost)))
  end
  for _, quota in ipairs(quotas) do
    quota.remaining = quota.remaining - calls * quota.cost
    if quota.cost > 0 then
      local slice = 0
      if form.scarce or quota.remaining >= QUOTA_PLENTY then
        slice = max(0, floor(floor(quota.remaining / QUOTA_SHARE) / quota.cost))
      end
      extra = min(extra, slice)
    end
  end

  for _, bucket in ipairs(buckets) do
    bucket.level = bucket.level - extra * bucket.cost * bucket.period
    if form.holder ~= '' then
      keep_hold(bucket, form.holder, (form.held + extra) * bucket.cost, now + hold_ms)
    end
    store_bucket(bucket, now, hold_ms)
  end
  local told
  for _, quota in ipairs(quotas) do
    local units = (calls + extra) * quota.cost
    if units > 0 then
      call('INCRBY', quota.key, units)
      if quota.fresh then call('PEXPIRE', quota.key, quota.ends - now + AFTER_PERIOD_MS) end
      if quota.moved then  -- the worker has not heard of it yet
        told = told or all_own(quotas)
        tell_followers(quota.key, units, told)
      end
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
  report(1, extra, calls, buckets, quotas, in_use)
end

local forms, position, key = {}, 4, 1
for n = 1, form_count do forms[n], position = read_form(position) end

local of_calls, failures = ARGV[position], {}
for n = 1, #of_calls do
  local form, slot = forms[string.byte(of_calls, n)], ''
  if #form.most > 0 then
    position = position + 1
    slot = ARGV[position]
  end
  if n == 1 then
    decide(form, key, slot)
  else  -- those before it have been charged: what is wrong with its keys is no matter of theirs
    local is_decided, failure = pcall(decide, form, key, slot)
    if not is_decided then
      local said = type(failure) == 'table' and failure.err or tostring(failure)
      if string.find(said, 'READONLY', 1, true) then error(failure, 0) end  -- a replica: it has charged nobody
      failures[#failures + 1] = said
      report_nothing(form, 5)
    end
  end
  key = key + #form.buckets + #form.quotas + #form.most
end
if #failures > 0 then return {packed_answer(), unpack(failures)} end
return packed_answer()
