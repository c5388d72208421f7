-- Token buckets for admit.lua and give_back.lua, which are appended to this file. Twin of token_bucket.py.
--
-- A bucket is a hash:
--   state        four numbers in one, as `struct` packs them, little-endian doubles: to read and write it is a third of
--                what four fields cost
--                level    tokens x period_ms, a whole number while it fits into 2^53
--                at       ms since the epoch the level was true at
--                period   the period_ms the level is in
--                keep     ms since the epoch until which the key is sure to exist; after that it is full anyway
--                What is shorter is none, what is longer a later version's, of which these are the first
--   h:<holder>   "<tokens>:<ms since the epoch>": tokens taken out in advance, and until when they may be spent
-- A missing key is a full bucket.
--
-- Invariant: tokens + tokens held by unexpired holders <= burst.

local STEP_BACK_MAX_MS = 60000
local LONGEST_KEEP_MS = 315360000000
local NONE = {}
local STATE, STATE_BYTES = '<dddd', 32
local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max
local call, pack_numbers, unpack_numbers = redis.call, struct.pack, struct.unpack

local function now_ms(given)
  if given ~= '' then return tonumber(given) end
  local time = call('TIME')
  return time[1] * 1000 + floor(time[2] / 1000)
end

-- The highest level allowed beside the holds.
local function room(bucket)
  return max(0, bucket.burst - bucket.held) * bucket.period
end

local function flow_in(bucket, when)
  local elapsed = max(0, when - bucket.at)
  bucket.level = min(room(bucket), bucket.level + elapsed * bucket.tokens)
  bucket.at = bucket.at + elapsed
end

-- Add the holds in `texts` that still run to the bucket and let what flowed in before each end flow in. What is no
-- hold, fields of another version, is dropped like one that has ended.
local function settle_holds(bucket, texts, now, hold_ms)
  local over = {}
  for field, text in pairs(texts) do
    local holder = string.match(field, '^h:(.*)$')
    local tokens, ends = string.match(holder and text or '', '^(%d+):(%d+)$')
    local hold = {tokens = tonumber(tokens) or 0, ends = tonumber(ends) or 0}
    bucket.held = bucket.held + hold.tokens
    if hold.ends <= now then
      over[#over + 1] = hold
      bucket.ended[#bucket.ended + 1] = field
    else
      if hold.ends > now + hold_ms then  -- written by a clock that was ahead
        hold.ends = now + hold_ms
        bucket.mended = bucket.mended or {}
        bucket.mended[holder] = hold
      end
      bucket.holds[holder] = hold
      bucket.last_end = max(bucket.last_end, hold.ends)
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
  local flat = call('HGETALL', key)
  for i = 1, #flat, 2 do
    local field = flat[i]
    if field == 'state' then
      if #flat[i + 1] >= STATE_BYTES then
        level, at, old_period, keep = unpack_numbers(STATE, flat[i + 1])
      end
    else
      texts = texts or {}
      texts[field] = flat[i + 1]
    end
  end
  if old_period ~= period then  -- the policy changed: the same tokens in new units
    level = floor(level / old_period * period)
    keep = 0
  end
  if at - now > STEP_BACK_MAX_MS then at, keep = now, 0 end  -- the clock was wrong before
  local bucket = {key = key, tokens = tokens, period = period, burst = burst, level = level, at = at, keep = keep,
                  held = 0, last_end = 0, holds = NONE, ended = NONE}
  now = max(now, at)  -- a clock stepping back mints nothing
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
  local ready = bucket.at + ceil(missing / bucket.tokens)
  if cost > bucket.burst - bucket.held then  -- no room for that many before the holds end
    ready = max(ready, bucket.last_end)
  end
  return ready - now
end

local function write_hold(bucket, holder, tokens, ends)
  call('HSET', bucket.key, 'h:' .. holder, string.format('%.0f:%.0f', tokens, ends))
end

-- Note that `holder` holds `tokens` until `ends`, and nothing else of this bucket.
local function keep_hold(bucket, holder, tokens, ends)
  local before = bucket.holds[holder]
  if before then bucket.held = bucket.held - before.tokens end
  bucket.held = bucket.held + tokens
  bucket.level = min(bucket.level, room(bucket))
  bucket.written = holder
  if tokens > 0 then
    bucket.kept = 'h:' .. holder
    write_hold(bucket, holder, tokens, ends)
  elseif before then
    call('HDEL', bucket.key, 'h:' .. holder)
  end
end

local function write_state(bucket)
  call('HSET', bucket.key, 'state', pack_numbers(STATE, bucket.level, bucket.at, bucket.period, bucket.keep))
end

local function store_bucket(bucket, now, hold_ms)
  local debt = max(0, -bucket.level)
  local full_ms = ceil((bucket.burst * bucket.period + debt) / bucket.tokens) + hold_ms
  if bucket.keep < now + full_ms then  -- not at every call: twice as long as needed
    local keep_ms = min(LONGEST_KEEP_MS, 2 * full_ms + 60000)
    bucket.keep = now + keep_ms
    write_state(bucket)
    call('PEXPIRE', bucket.key, keep_ms)
  else
    write_state(bucket)
  end
  for _, field in ipairs(bucket.ended) do
    if field ~= bucket.kept then call('HDEL', bucket.key, field) end
  end
  for holder, hold in pairs(bucket.mended or NONE) do
    if bucket.written ~= holder then write_hold(bucket, holder, hold.tokens, hold.ends) end
  end
end
