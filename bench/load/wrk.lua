-- For wrk: walks the requests of a file in turn from the given one on, and prints one line of JSON at the end.
--
--   wrk -t1 -c50 -d5s -s wrk.lua http://127.0.0.1:8080 -- PUT requests.tsv 0
--
-- A line of the file is a path, or a path, a tab and a JSON body. One thread only: each thread walks the whole file.

local requests = {}
local last = 0
local at = 0

function init(args)
  local method = args[1]
  for line in io.lines(args[2]) do
    local path, body = line:match('^([^\t]*)\t(.*)$')
    local headers = { ['Host'] = wrk.headers['Host'] }
    if body then headers['Content-Type'] = 'application/json' end
    last = last + 1
    requests[last] = wrk.format(method, path or line, headers, body)
  end
  at = tonumber(args[3]) % last
end

function request()
  at = at + 1
  if at > last then at = 1 end
  return requests[at]
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%.6f,"p50Ms":%.3f,"p95Ms":%.3f,"p99Ms":%.3f,"errors":%d}\n',
    summary.requests,
    summary.duration / 1e6,
    latency:percentile(50) / 1e3,
    latency:percentile(95) / 1e3,
    latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout
  ))
end
