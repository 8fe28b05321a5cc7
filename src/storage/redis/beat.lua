-- Says that an edge lives. KEYS[1]: a sorted set of edges by when they were last heard (Unix milliseconds).
-- ARGV: edge, how long it counts as living (milliseconds). Answers when it was last heard before, '' where that is not
-- known; when it was heard now; and all that live.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local before, heard = redis.call('ZSCORE', KEYS[1], ARGV[1]), string.format('%.0f', now)
redis.call('ZADD', KEYS[1], heard, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - tonumber(ARGV[2])))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return { before or '', heard, redis.call('ZRANGE', KEYS[1], 0, -1) }
