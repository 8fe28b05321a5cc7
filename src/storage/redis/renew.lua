-- Holds a user's stream places for longer, whether or not they are there still. KEYS[1]: as for entering.
-- ARGV: how long (milliseconds), then the places.
local clock = redis.call('TIME')
local runs_out = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000) + tonumber(ARGV[1])
for place = 2, #ARGV do
  redis.call('ZADD', KEYS[1], string.format('%.0f', runs_out), ARGV[place])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return #ARGV - 1
