-- Sets requests aside for one edge. Takes the settlements, then: lease, holder, limit, live edges, the most to grant.
-- Answers the standing, then: granted, request_count + leased, what other edges hold.
local problem = obstacle()
if problem then return problem end
settle_given()
local lease, holder, limit = argument(), argument(), tonumber(argument())
local live, most = tonumber(argument()), tonumber(argument())
local answer = standing()
-- Before the seed nobody knows how much is left.
if not seeded then return answer end

local counted = math.max(number('used'), 0) + math.max(number('leased'), 0)
local granted = 0
local earlier = redis.call('HGET', key, 'l:' .. lease)
if earlier then
  granted = tonumber(string.match(earlier, '^%S+ (%d+) '))
else
  -- As `lease_size` in admission/quota_store.rs.
  local remaining = math.max(limit - counted, 0)
  granted = math.min(math.max(math.min(math.floor(remaining / (4 * live)), most), 1), remaining)
  if granted > 0 then
    counted = counted + granted
    add('leased', granted)
    add('e:' .. holder, granted)
    redis.call('HSET', key, 'l:' .. lease, holder .. ' ' .. granted .. ' 0')
  else
    redis.call('HSET', key, 'reached', '1')
  end
end
answer[9], answer[10] = granted, counted
answer[11] = math.max(number('leased') - number('e:' .. holder), 0)
return answer
