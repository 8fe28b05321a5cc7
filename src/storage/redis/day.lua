-- The head of every script on one subject's day: its arguments, the check that the day is known, and what the
-- scripts share. All of a day is in one hash, so that it lives in one slot and is lost, if it is, as a whole.
--
-- KEYS[1]  the day's hash
-- ARGV     epoch, edge, channel, what to say there when something is freed, when the key may go (Unix seconds),
--          the life in which the caller knows the day, the last chunk of that life that the durable store has, the
--          last answer of that life that the edge has heard; then what the script itself takes
--
-- Fields:
--   cfx        "1": this hash is ours
--   born       EPOCH/ID, drawn when the day was opened here: another value, another life of the counter
--   until      no seed before this instant, Unix microseconds
--   seeded     set once what the durable store had counted is in `used`
--   used, leased, reached (set when a grant found nothing left)
--   l:LEASE    "EDGE GRANTED USED" of an open lease
--   t:LEASE    a lease of an earlier life that was closed in this one
--   p:POSTING  a release or post that was applied
--   e:EDGE     what the leases of EDGE have left
--   o:EDGE     what EDGE has counted in this life, in all
--   c:EDGE     "NUMBER FROM TO": the part of o:EDGE that is on its way into the durable store
--   n:EDGE     answers given to EDGE, so that it can tell a late one
local key, epoch, edge, channel, freed_words, ends = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local given = 8

local function argument()
  given = given + 1
  return ARGV[given]
end

local function number(field)
  return tonumber(redis.call('HGET', key, field) or '0')
end

local function add(field, amount)
  if amount ~= 0 then redis.call('HINCRBY', key, field, amount) end
end

local function micros()
  local now = redis.call('TIME')
  return tonumber(now[1]) * 1000000 + tonumber(now[2])
end

local head = redis.call('HMGET', key, 'cfx', 'born', 'seeded')
local born, seeded = head[2], head[3] == '1'
local foreign = head[1] ~= '1' and redis.call('EXISTS', key) == 1
local known = born and string.sub(born, 1, #epoch + 1) == epoch .. '/'
-- Who knows another life, or none, knows nothing of this one's chunks.
local stored = ARGV[6] == born and tonumber(ARGV[7]) or -1
-- Answers are numbered: whoever has heard one that was never given here has been here before, with later data.
local heard = ARGV[6] == born and tonumber(ARGV[8]) or 0

-- What a script answers where it cannot go on; nil where it can.
local function obstacle()
  if foreign then return { 'foreign' } end
  if not known then return { 'unborn', born or '' } end
  if number('n:' .. edge) < heard then return { 'older', born } end
  return nil
end

-- Something that was taken is free again: whoever remembers the day as reached must hear of it.
local function freed()
  if redis.call('HDEL', key, 'reached') == 1 then redis.call('PUBLISH', channel, freed_words) end
end

-- One settlement. `life` is the one in which the caller knows the lease, '' for none. A lease of an earlier life is
-- taken in as it was last acknowledged there (`used_then` of `granted`), so that only the rest is counted here.
local function settle(lease, used, closes, life, holder, granted, used_then)
  local field = 'l:' .. lease
  local held = redis.call('HGET', key, field)
  local returns = life ~= '' and life ~= born
  if not held then
    if not returns or redis.call('HEXISTS', key, 't:' .. lease) == 1 then return end
    add('leased', granted - used_then)
    add('e:' .. holder, granted - used_then)
    held = holder .. ' ' .. granted .. ' ' .. used_then
  end
  local who, size, before = string.match(held, '^(%S+) (%d+) (%d+)$')
  size, before = tonumber(size), tonumber(before)
  -- An older report that arrives late says nothing new.
  used = math.min(math.max(used, before), math.max(size, before))
  local unleased = used - before
  if closes then unleased = math.max(size - before, 0) end
  add('used', used - before)
  add('o:' .. edge, used - before)
  add('leased', -unleased)
  add('e:' .. who, -unleased)
  if not closes then
    redis.call('HSET', key, field, who .. ' ' .. size .. ' ' .. used)
    return
  end
  redis.call('HDEL', key, field)
  -- The caller may not have heard that the lease was taken in, and say all this again.
  if returns then redis.call('HSET', key, 't:' .. lease, '1') end
  if size > used then freed() end
end

local function settle_given()
  for _ = 1, tonumber(argument()) do
    local lease, used, closes, life = argument(), tonumber(argument()), argument() == '1', argument()
    local holder, granted, used_then = argument(), tonumber(argument()), tonumber(argument())
    settle(lease, used, closes, life, holder, granted, used_then)
  end
end

-- Where the day stands for this edge, as the head of every answer. A new chunk is cut when the durable store has the
-- last one: with its number stored here before anything is sent, a restarted edge sends the same one again.
local function standing()
  local counted = number('o:' .. edge)
  local chunk, from, to = string.match(redis.call('HGET', key, 'c:' .. edge) or '0 0 0', '^(%d+) (%-?%d+) (%-?%d+)$')
  chunk, from, to = tonumber(chunk), tonumber(from), tonumber(to)
  if seeded and stored >= chunk and to ~= counted then
    chunk, from, to = chunk + 1, to, counted
    redis.call('HSET', key, 'c:' .. edge, chunk .. ' ' .. from .. ' ' .. to)
  end
  local turn = redis.call('HINCRBY', key, 'n:' .. edge, 1)
  return { 'ok', born, seeded and 1 or 0, turn, counted, chunk, from, to }
end
