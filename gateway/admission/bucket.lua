-- Token buckets for admit.lua and give_back.lua, which are appended to this file. Twin of token_bucket.py.
--
-- A bucket is a hash:
--   level        tokens x period_ms, a whole number while it fits into 2^53
--   at           ms since the epoch the level was true at
--   period       the period_ms the level is in
--   keep         ms since the epoch until which the key is sure to exist; after that it is full anyway
--   h:<holder>   "<tokens>:<ms since the epoch>": tokens taken out in advance, and until when they may be spent
-- A missing key is a full bucket.
--
-- Invariant: tokens + tokens held by unexpired holders <= burst.

local STEP_BACK_MAX_MS = 60000
local LONGEST_KEEP_MS = 315360000000
local NONE = {}

local function now_ms(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The highest level allowed beside the holds.
local function room(bucket)
  return math.max(0, bucket.burst - bucket.held) * bucket.period
end

local function flow_in(bucket, when)
  local elapsed = math.max(0, when - bucket.at)
  bucket.level = math.min(room(bucket), bucket.level + elapsed * bucket.tokens)
  bucket.at = bucket.at + elapsed
end

-- Add the holds in `texts` that still run to the bucket and let what flowed in before each end flow in.
local function settle_holds(bucket, texts, now, hold_ms)
  local over = {}
  for holder, text in pairs(texts) do
    local tokens, ends = string.match(text, '^(%d+):(%d+)$')
    local hold = {tokens = tonumber(tokens), ends = tonumber(ends)}
    bucket.held = bucket.held + hold.tokens
    if hold.ends <= now then
      over[#over + 1] = hold
      bucket.ended[#bucket.ended + 1] = 'h:' .. holder
    else
      if hold.ends > now + hold_ms then  -- written by a clock that was ahead
        hold.ends = now + hold_ms
        bucket.mended = bucket.mended or {}
        bucket.mended[holder] = hold
      end
      bucket.holds[holder] = hold
      bucket.last_end = math.max(bucket.last_end, hold.ends)
    end
  end
  table.sort(over, function(a, b) return a.ends < b.ends end)
  for _, hold in ipairs(over) do
    flow_in(bucket, hold.ends)
    bucket.held = bucket.held - hold.tokens
  end
end

-- The bucket at `now`. Reads only.
local function load_bucket(key, tokens, period, burst, now, hold_ms)
  local level, at, old_period, keep, texts = burst * period, now, period, 0, nil
  local flat = redis.call('HGETALL', key)
  for i = 1, #flat, 2 do
    local field, value = flat[i], flat[i + 1]
    if field == 'level' then level = tonumber(value)
    elseif field == 'at' then at = tonumber(value)
    elseif field == 'period' then old_period = tonumber(value)
    elseif field == 'keep' then keep = tonumber(value)
    else
      texts = texts or {}
      texts[string.sub(field, 3)] = value
    end
  end
  if old_period ~= period then  -- the policy changed: the same tokens in new units
    level = math.floor(level / old_period * period)
    keep = 0
  end
  if at - now > STEP_BACK_MAX_MS then at, keep = now, 0 end  -- the clock was wrong before
  local bucket = {key = key, tokens = tokens, period = period, burst = burst, level = level, at = at, keep = keep,
                  held = 0, last_end = 0, holds = NONE, ended = NONE}
  now = math.max(now, at)  -- a clock stepping back mints nothing
  if texts then
    bucket.holds, bucket.ended = {}, {}
    settle_holds(bucket, texts, now, hold_ms)
  end
  flow_in(bucket, now)
  return bucket
end

-- 0 when the bucket can pay `cost`, else the ms until it can.
local function bucket_wait_ms(bucket, cost, now)
  local missing = cost * bucket.period - bucket.level
  if missing <= 0 then return 0 end
  local ready = bucket.at + math.ceil(missing / bucket.tokens)
  if cost > bucket.burst - bucket.held then  -- no room for that many before the holds end
    ready = math.max(ready, bucket.last_end)
  end
  return ready - now
end

local function write_hold(bucket, holder, tokens, ends)
  redis.call('HSET', bucket.key, 'h:' .. holder, string.format('%.0f:%.0f', tokens, ends))
end

-- Note that `holder` holds `tokens` until `ends`, and nothing else of this bucket.
local function keep_hold(bucket, holder, tokens, ends)
  local before = bucket.holds[holder]
  if before then bucket.held = bucket.held - before.tokens end
  bucket.held = bucket.held + tokens
  bucket.level = math.min(bucket.level, room(bucket))
  bucket.written = holder
  if tokens > 0 then
    bucket.kept = 'h:' .. holder
    write_hold(bucket, holder, tokens, ends)
  elseif before then
    redis.call('HDEL', bucket.key, 'h:' .. holder)
  end
end

local function store_bucket(bucket, now, hold_ms)
  local debt = math.max(0, -bucket.level)
  local full_ms = math.ceil((bucket.burst * bucket.period + debt) / bucket.tokens) + hold_ms
  if bucket.keep < now + full_ms then  -- not at every call: twice as long as needed
    local keep_ms = math.min(LONGEST_KEEP_MS, 2 * full_ms + 60000)
    redis.call('HSET', bucket.key, 'level', bucket.level, 'at', bucket.at, 'period', bucket.period,
               'keep', now + keep_ms)
    redis.call('PEXPIRE', bucket.key, keep_ms)
  else
    redis.call('HSET', bucket.key, 'level', bucket.level, 'at', bucket.at)
  end
  for _, field in ipairs(bucket.ended) do
    if field ~= bucket.kept then redis.call('HDEL', bucket.key, field) end
  end
  for holder, hold in pairs(bucket.mended or NONE) do
    if bucket.written ~= holder then write_hold(bucket, holder, hold.tokens, hold.ends) end
  end
end
