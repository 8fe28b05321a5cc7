-- Changes the count beside the leases, once for each posting id. Takes: posting, by how much, and 1 where the durable
-- store hears of it by another way.
local problem = obstacle()
if problem then return problem end
local posting, amount, aside = argument(), tonumber(argument()), argument() == '1'
if redis.call('HSETNX', key, 'p:' .. posting, '1') == 1 then
  add('used', amount)
  if not aside then add('o:' .. edge, amount) end
  if amount < 0 then freed() end
end
return standing()
