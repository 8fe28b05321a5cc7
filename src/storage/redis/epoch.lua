-- Which epoch of this Redis' data it is: one for each time that it came up, or was emptied. KEYS: the epoch, and a key
-- that lives while it is young. ARGV: the server's run id, an id for a new epoch, how long it is young
-- (milliseconds), and an epoch that is to end, or ''. Answers the epoch, and 1 while it is young.
local epoch = redis.call('GET', KEYS[1])
-- Who cannot see the run id takes the data as they are.
if not epoch or epoch == ARGV[4] or (ARGV[1] ~= 'unknown' and string.match(epoch, '^[^:]*') ~= ARGV[1]) then
  epoch = ARGV[1] .. ':' .. ARGV[2]
  redis.call('SET', KEYS[1], epoch)
  redis.call('SET', KEYS[2], '1', 'PX', ARGV[3])
end
return { epoch, redis.call('EXISTS', KEYS[2]) }
