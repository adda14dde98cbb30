-- KEYS: globals, queue of the dead letters, result keys. ARGV: {{queue}, letters}; letters: {id, position, priority, "queue task\n" and body, delay}
-- Moves dead letters of one queue back to it as new messages, and their old results away; how many.
local names, letters = unpack(cmsgpack.unpack(ARGV[1]))
bind(names, 9)
local items = {}
for i, letter in ipairs(letters) do
    local text = redis.call('HGET', G.dead, letter[1])
    if text and split(letter[1], text).position == letter[2] then
        redis.call('DEL', KEYS[15 + i])
        items[#items + 1] = { letter[1], names[1], letter[3], letter[5], letter[4] }
    end
end
insert(items)
return #items
