-- What wrk repeats: the request of BENCH_METHOD with the headers of BENCH_HEADERS (one a line) and, where it is given, the file
-- BENCH_BODY as its body; under the keys of the file BENCH_KEYS in turn, where that is given. Ends in one line of JSON.
wrk.method = os.getenv("BENCH_METHOD") or "POST"
if os.getenv("BENCH_BODY") then
  local file = assert(io.open(os.getenv("BENCH_BODY"), "rb"))
  wrk.body = file:read("*a")
  file:close()
  wrk.headers["Content-Type"] = "application/json"
end
for name, value in (os.getenv("BENCH_HEADERS") or ""):gmatch("([^:\n]+): ([^\n]*)") do wrk.headers[name] = value end

if os.getenv("BENCH_KEYS") then
  local keys, turn = {}, 0
  for key in io.lines(os.getenv("BENCH_KEYS")) do keys[#keys + 1] = key end
  request = function()
    turn = turn % #keys + 1
    wrk.headers["Authorization"] = "Bearer " .. keys[turn]
    return wrk.format()
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('\n{"requests": %d, "others": %d, "broken": %d, "p50": %.3f, "p99": %.3f, "p999": %.3f}\n', summary.requests,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3))
end
