-- Give back what was charged and not used: calls of a lease, or what a call cost less than it was charged. A call
-- that turned out dearer takes the difference: it is given back less than nothing. Atomic.
--
-- KEYS     the buckets, then the quota counters, as in admit.lua
-- ARGV[1]  now in ms, for tests; empty in production: Redis's own time
-- ARGV[2]  holder of the tokens, empty for those of calls that ended   ARGV[3]  hold_ms
-- ARGV[4]  number of buckets; then for each bucket:   tokens   period_ms   burst   tokens given back
--                             then for each quota:    units given back
-- returns  nothing of interest
--
-- A bucket takes back only what the holder's hold still covers: what has expired was counted as spent already. What
-- ended calls cost moves its level, down to a burst below empty and up to what fits beside the holds.
-- What comes off a counter that was left comes off those that follow it, too (followers.lua). A counter never falls
-- below 0 nor rises to 2^52, which marks one that was left (see move.lua), and one that is gone stays gone. Running it
-- twice would give back twice: a call whose answer was lost is not made again.

local now = now_ms(ARGV[1])
local holder, hold_ms, bucket_count = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local position = 5

for i = 1, bucket_count do
  local tokens, period, burst, given = unpack(ARGV, position, position + 3)
  local bucket = load_bucket(KEYS[i], tonumber(tokens), tonumber(period), tonumber(burst), now, hold_ms)
  local hold = bucket.holds[holder]
  if holder == '' then
    local level = math.min(bucket.level + tonumber(given) * bucket.period, room(bucket))
    bucket.level = math.max(-bucket.burst * bucket.period, level)
    store_bucket(bucket, now, hold_ms)
  elseif hold then
    local returned = math.min(tonumber(given), hold.tokens)
    bucket.level = bucket.level + returned * bucket.period
    keep_hold(bucket, holder, hold.tokens - returned, hold.ends)
    store_bucket(bucket, now, hold_ms)
  end
  position = position + 4
end

local dearer, cheaper = {}, {}  -- what followers were told; what comes off, none that are given back themselves
for i = bucket_count + 1, #KEYS do cheaper[KEYS[i]] = OWN end
for i = bucket_count + 1, #KEYS do
  local text = redis.call('GET', KEYS[i])
  local used = text and tonumber(text)
  if used then
    local is_left = used >= MOVED
    if is_left then used = used - MOVED end
    local units = math.max(used + 1 - MOVED, math.min(math.max(0, used), tonumber(ARGV[position])))
    if units ~= 0 then redis.call('DECRBY', KEYS[i], string.format('%.0f', units)) end
    if is_left and units ~= 0 then tell_followers(KEYS[i], -units, units < 0 and dearer or cheaper) end
  end
  position = position + 1
end
return 1
