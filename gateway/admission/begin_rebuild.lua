-- Begin to rebuild quota counters: from now on rebuild.lua takes this token, and no other. Atomic. evictions.lua comes
-- before it.
--
-- KEYS[1]  the rebuild under way: its token, and how many keys the server had dropped when it began
-- ARGV[1]  token   ARGV[2]  ms it may take
-- returns  1

redis.call('SET', KEYS[1], ARGV[1] .. ':' .. evicted(), 'PX', ARGV[2])
return 1
