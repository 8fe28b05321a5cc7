-- Begins a life of the counter where this epoch has none; what an earlier epoch left is cleared away. Takes: the id of
-- the life, for how long nobody may seed it (microseconds). Answers the life there is, and whether it is new.
if foreign then return { 'foreign' } end
if known then return { 'ok', born, 0 } end
local id, wait = argument(), tonumber(argument())
local now = micros()
redis.call('DEL', key)
born = epoch .. '/' .. id
redis.call('HSET', key, 'cfx', '1', 'born', born, 'until', string.format('%.0f', now + wait))
-- Days of the past are kept as long: somebody has just asked for them.
redis.call('EXPIREAT', key, math.max(ends, math.floor(now / 1000000) + 172800))
return { 'ok', born, 1 }
