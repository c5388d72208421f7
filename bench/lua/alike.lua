-- Check the key, then have Redis decide every call as Tollway has it decided: a rate and a quota, all or nothing, and
-- tell the caller. Written as one does: with lua-resty-redis, which Debian calls nginx.redis.

local RATE, BURST, AMOUNT = 1000000, 1000000, 1000000000000
local POLICY = '"burst";q=1000000;w=1,"monthly";q=1000000000000;w=2592000'

local account = require("keys").known(ngx.var.http_x_api_key or "")
if not account then
    return ngx.exit(401)
end

local redis = require("nginx.redis"):new()
redis:set_timeout(100)
if not redis:connect(ngx.var.redis) then
    return ngx.exit(503)
end
local month = account .. ":" .. os.date("!%Y-%m", ngx.time())
local told = redis:evalsha(ngx.var.script, 2, account .. ":bucket", month, RATE, BURST, AMOUNT)
if not told then
    return ngx.exit(503)
end
redis:set_keepalive(600000, 128)
ngx.header["RateLimit-Policy"] = POLICY
ngx.header["RateLimit"] = '"burst";r=' .. told[2] .. ';t=1,"monthly";r=' .. told[3] .. ";t=2592000"
if told[1] == 0 then
    return ngx.exit(429)
end
