"""What Redis is asked to do, in its own Lua: the arithmetic of `billing.limits.counters`, each script in one step.

KEYS are a hash and a sorted set for each subject (for AT_LEAST the hash alone). A subject's hash holds its minute of
requests (`began`, `previous`, `current`; milliseconds and counts) and, for each fixed window, its number and its count.
"""

# What every script begins with. A day is told by its end: the first of the three given ones that lies ahead.
_COMMON = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local ask = cjson.decode(ARGV[1])
local MINUTE, HOUR = 60000, 3600000
local function meter_of(key)
  local raw, found = redis.call('HGETALL', key), {}
  for place = 1, #raw, 2 do found[raw[place]] = tonumber(raw[place + 1]) end
  return found
end
local function slide(meter)
  local began, previous, current = meter.began or 0, meter.previous or 0, meter.current or 0
  local age = now - began
  if age < 0 or age >= 2 * MINUTE or (age >= MINUTE and current == 0) then return now, 0, 0 end
  if age >= MINUTE then return began + MINUTE, current, 0 end
  return began, previous, current
end
local function window(span, ends)
  if span == 'minute' then local number = math.floor(now / MINUTE); return number, (number + 1) * MINUTE end
  if span == 'hour' then local number = math.floor(now / HOUR); return number, (number + 1) * HOUR end
  for _, last in ipairs(ends) do if now < last * 1000 then return last, last * 1000 end end
  return ends[3], ends[3] * 1000
end
local function used_of(meter, name, number)
  return meter[name .. ':n'] == number and meter[name .. ':c'] or 0
end
local function keep(key, meter, name, number, amount)
  local count = math.max(0, used_of(meter, name, number) + amount)
  redis.call('HSET', key, name .. ':n', number, name .. ':c', count)
  redis.call('EXPIRE', key, 180000)
end
"""

# With `call` it is an admission, without it a look.
TAKE = (
    _COMMON
    + """
local meters, full, seen = {}, nil, {}
for place, subject in ipairs(ask.subjects) do
  local meter = meter_of(KEYS[2 * place - 1])
  meters[place] = meter
  meter.began, meter.previous, meter.current = slide(meter)
  redis.call('ZREMRANGEBYSCORE', KEYS[2 * place], '-inf', now)
  for number, rule in ipairs(subject.rules) do
    local name, unit, span, limit = rule[1], rule[2], rule[3], rule[4]
    local used, ends, wait
    if unit == 'concurrent' then
      used, ends, wait = redis.call('ZCARD', KEYS[2 * place]), 0, 0
    elseif unit == 'requests' and span == 'minute' then
      local age = now - meter.began
      ends, used = meter.began + MINUTE, meter.previous * (1 - age / MINUTE) + meter.current
      if meter.current < limit then
        wait = MINUTE - age - MINUTE * (limit - meter.current) / math.max(1, meter.previous)
      else
        wait = MINUTE - age + MINUTE * (1 - limit / meter.current)
      end
    else
      local which
      which, ends = window(span, subject.ends)
      used, wait = used_of(meter, name, which), ends - now
    end
    if used >= limit and not full then full = {place, number, math.max(0, math.ceil(wait))} end
    table.insert(seen, math.floor(used))
    table.insert(seen, math.floor(ends))
  end
end
if ask.call and not full then
  for place, subject in ipairs(ask.subjects) do
    local key, meter = KEYS[2 * place - 1], meters[place]
    redis.call('HSET', key, 'began', meter.began, 'previous', meter.previous, 'current', meter.current + 1)
    keep(key, meter, 'requests-per-day', window('day', subject.ends), 1)
    redis.call('ZADD', KEYS[2 * place], now + ask.lease, ask.call)
    redis.call('PEXPIRE', KEYS[2 * place], ask.lease * 2)
  end
end
return {full or {}, seen}
"""
)

# What a call came to. `requests` is -1 for one that was refused for another reason, or left: if it counts, no more.
SETTLE = (
    _COMMON
    + """
for place, subject in ipairs(ask.subjects) do
  local key = KEYS[2 * place - 1]
  local meter = meter_of(key)
  local counted = redis.call('ZREM', KEYS[2 * place], ask.call)
  local minute, hour, day = window('minute'), window('hour'), window('day', subject.ends)
  if ask.tokens > 0 then
    keep(key, meter, 'tokens-per-minute', minute, ask.tokens)
    keep(key, meter, 'tokens-per-day', day, ask.tokens)
    keep(key, meter, 'output-tokens-per-hour', hour, ask.output)
    keep(key, meter, 'output-tokens-per-day', day, ask.output)
  end
  if ask.requests < 0 and counted == 1 then
    local began, previous, current = slide(meter)
    redis.call('HSET', key, 'began', began, 'previous', previous, 'current', math.max(0, current - 1))
    keep(key, meter, 'requests-per-day', day, -1)
  end
end
return 1
"""
)

# What the log says, where less was counted.
AT_LEAST = (
    _COMMON
    + """
for place, subject in ipairs(ask.subjects) do
  local key = KEYS[place]
  local meter, hour = meter_of(key), window('hour')
  local day = window('day', subject.ends)
  local function least(name, number, amount)
    local more = amount - used_of(meter, name, number)
    if more > 0 then keep(key, meter, name, number, more) end
  end
  least('output-tokens-per-hour', hour, subject.hour)
  least('requests-per-day', day, subject.requests)
  least('tokens-per-day', day, subject.tokens)
  least('output-tokens-per-day', day, subject.output)
end
return 1
"""
)

RENEW = """
local clock = redis.call('TIME')
local until_then = clock[1] * 1000 + math.floor(clock[2] / 1000) + ARGV[1]
for place, key in ipairs(KEYS) do
  redis.call('ZADD', key, 'XX', until_then, ARGV[place + 1])
  redis.call('PEXPIRE', key, ARGV[1] * 2)
end
return 1
"""
