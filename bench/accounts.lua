-- wrk: calls of many accounts in turn, whose keys are its arguments; neighbours never pay into the same counters.
local requests = {}
local count = 0

function init(keys)
  for number, key in ipairs(keys) do
    wrk.headers["X-API-Key"] = key
    requests[number] = wrk.format()
  end
end

function request()
  count = count % #requests + 1
  return requests[count]
end
