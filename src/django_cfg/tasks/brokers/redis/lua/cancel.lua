-- KEYS: globals, result key, queue. ARGV: {{queue}, id, verdict}. 1: it waited and is gone; 0: it runs or is unknown.
local names, id, verdict = unpack(cmsgpack.unpack(ARGV[1]))
bind(names, 10)
local queue, text = Q[names[1]], redis.call('HGET', G.messages, id)
if not text then
    return 0
end
local member = ranked(split(id, text))
local waited = redis.call('ZREM', queue.delayed, member) + redis.call('ZREM', queue.retrying, member)
    + redis.call('ZREM', queue.priority, member) + redis.call('ZREM', queue.suspects, member)
if waited == 0 then
    waited = redis.call('LREM', queue.list, 1, id)
end
if waited == 0 then
    redis.call('SADD', G.cancelled, id) -- whoever holds it learns of it with the next exchange
    return 0
end
finish_cancelled(id, KEYS[9], verdict)
return 1
