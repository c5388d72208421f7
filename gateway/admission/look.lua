-- Prelude to bucket.lua, slots.lua and admit.lua, which are appended to this file: they decide as ever, and nothing of
-- what they decide is done. Of `redis` they see only what stands here; a command that is not known fails the script.

local real = redis
local ended = {}  -- sets of slots whose ended slots admit.lua takes for gone, and until when they have

local READS = {TIME = true, INFO = true, HGETALL = true, GET = true, ZRANGEBYSCORE = true}
local WRITES = {SET = true, DEL = true, HSET = true, HDEL = true, PEXPIRE = true, INCRBY = true, ZADD = true}

local redis = {}

function redis.call(command, key, ...)
  if READS[command] then
    if key == nil then return real.call(command) end
    return real.call(command, key, ...)
  end
  if WRITES[command] then return 0 end
  if command == 'ZREMRANGEBYSCORE' then
    ended[key] = select(2, ...)
    return 0
  end
  if command == 'ZCARD' then
    return #real.call('ZRANGEBYSCORE', key, '(' .. string.format('%.0f', ended[key]), '+inf')
  end
  error('look.lua does not know ' .. command)
end

redis.pcall = redis.call
