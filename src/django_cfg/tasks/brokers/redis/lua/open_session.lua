-- KEYS: globals, session, held. ARGV: {session, lease, host id, host, pid, process start}
local number, lease, host_id, host, pid, started = unpack(cmsgpack.unpack(ARGV[1]))
redis.call('HSET', KEYS[9], 'host_id', host_id, 'host', host, 'pid', pid, 'process_started', started, 'seq', 0)
redis.call('ZADD', G.sessions, now + lease, number)
return 1
