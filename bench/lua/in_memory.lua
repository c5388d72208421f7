-- Check the key, then count this second's calls of the account in memory that nginx's workers share.

local account = require("keys").known(ngx.var.http_x_api_key or "")
if not account then
    return ngx.exit(401)
end
local calls = ngx.shared.counters:incr(account .. ":" .. ngx.time(), 1, 0, 2)
if calls > 1000000 then
    return ngx.exit(429)
end
