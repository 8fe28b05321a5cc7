-- The request that wrk repeats: a POST of the file BENCH_BODY under the key BENCH_KEY, or under the keys of the file
-- BENCH_KEYS in turn.
local file = assert(io.open(os.getenv("BENCH_BODY"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("BENCH_KEY")

if os.getenv("BENCH_KEYS") then
  local keys, turn = {}, 0
  for key in io.lines(os.getenv("BENCH_KEYS")) do keys[#keys + 1] = key end
  request = function()
    turn = turn % #keys + 1
    wrk.headers["Authorization"] = "Bearer " .. keys[turn]
    return wrk.format()
  end
end
