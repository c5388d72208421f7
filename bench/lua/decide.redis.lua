-- Decide one call by a token bucket and a quota of the month, all or nothing. Atomic.
--
-- KEYS[1]  the bucket: a hash of tokens and the us since the epoch they were true at   KEYS[2]  calls of this month
-- ARGV     tokens a second   burst   calls a month
-- returns  {1 admitted | 0 refused, tokens left, calls left this month}

local rate, burst, amount = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = burst
if bucket[1] then
    tokens = math.min(burst, bucket[1] + math.max(0, now - bucket[2]) * rate / 1000000)
end
local left = amount - tonumber(redis.call('GET', KEYS[2]) or 0)
if tokens < 1 or left < 1 then
    return {0, math.floor(tokens), left}
end
redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens - 1), 'at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(burst / rate * 1000) + 1000)
if redis.call('INCR', KEYS[2]) == 1 then
    redis.call('EXPIRE', KEYS[2], 32 * 86400)
end
return {1, math.floor(tokens - 1), left - 1}
