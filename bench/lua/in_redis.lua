-- Check the key, then ask Redis for every call: one EVALSHA over a kept connection.
--
-- What it needs of lua-resty-redis, without another package: send one script call, read one integer.

local account = require("keys").known(ngx.var.http_x_api_key or "")
if not account then
    return ngx.exit(401)
end

local redis = ngx.socket.tcp()
if not redis:connect(ngx.var.redis) then
    return ngx.exit(503)
end
local rate = account .. ":" .. ngx.time()
redis:send(
    "*5\r\n$7\r\nEVALSHA\r\n$40\r\n" .. ngx.var.script .. "\r\n$1\r\n2\r\n$"
        .. #rate .. "\r\n" .. rate .. "\r\n$" .. #account .. "\r\n" .. account .. "\r\n"
)
local line = redis:receive()
local calls = line and tonumber(line:sub(2))
if not calls then
    return ngx.exit(503)
end
redis:setkeepalive(600000, 128)
if calls > 1000000 then
    return ngx.exit(429)
end
