-- wrk: every request carries a trace of its own, as instrumented callers send it. Made beforehand, so that
-- the load costs no more than any other; a connection never sends the same one twice in a row.
local requests = {}
local count = 0

function init()
  for number = 1, 4096 do
    wrk.headers["Traceparent"] = string.format("00-0af7651916cd43dd8448eb21%08x-b7ad6b7169203331-01", number)
    requests[number] = wrk.format()
  end
end

function request()
  count = count % #requests + 1
  return requests[count]
end
