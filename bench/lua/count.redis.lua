-- Count one call against a rate and a quota. Atomic.
--
-- KEYS[1]  calls of this second: a number that expires   KEYS[2]  calls of this month: a number
-- returns  calls of this second, this one included

local calls = redis.call('INCR', KEYS[1])
if calls == 1 then
    redis.call('EXPIRE', KEYS[1], 2)
end
redis.call('INCR', KEYS[2])
return calls
