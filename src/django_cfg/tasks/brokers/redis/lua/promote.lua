-- KEYS: globals, queues. ARGV: {queues}. Makes due messages ready.
local names = cmsgpack.unpack(ARGV[1])
bind(names, 9)
for _, name in ipairs(names) do
    promote(Q[name])
end
return 1
