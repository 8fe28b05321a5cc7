-- Adds what the durable store had counted before this life. Takes: the life it was read for, and the count, or -1 to
-- ask only. Answers 1 where the day is seeded, else 0 and for how many microseconds nobody may.
local problem = obstacle()
if problem then return problem end
local life, count = argument(), tonumber(argument())
if seeded or life ~= born then return { 'ok', born, 1, 0 } end
local wait = math.max(number('until') - micros(), 0)
if count < 0 or wait > 0 then return { 'ok', born, 0, wait } end
add('used', count)
redis.call('HSET', key, 'seeded', '1')
return { 'ok', born, 1, 0 }
