-- SPDX-License-Identifier: MIT
-- tables.lua [SCALE]: tables as records and arrays, closures, strings built piece by
-- piece: an interpreter whose every value is a small block, collected in steps.

local scale = tonumber(arg[1] or 100)

local function list(n)
	local head
	for i = 1, n do
		head = {value = i, text = "item " .. i, next = head}
	end
	return head
end

local function sum(node)
	local total = 0
	while node do
		total = total + node.value + #node.text
		node = node.next
	end
	return total
end

local function counters(n)
	local all = {}
	for i = 1, n do
		local count = 0
		all[i] = function(by)
			count = count + by
			return count
		end
	end
	return all
end

local total = 0
local kept = {}
for turn = 1, math.max(1, 12 * scale // 100) do
	total = total + sum(list(20000))
	for i, count in ipairs(counters(5000)) do
		total = total + count(i) - count(-i)
	end
	local parts = {}
	for i = 1, 10000 do
		parts[#parts + 1] = string.format("%d:%x", i, i * turn)
	end
	local text = table.concat(parts, ",")
	for piece in text:gmatch("(%x+),") do
		total = total + #piece
	end
	kept[turn % 4 + 1] = list(10000)
end
print(total, sum(kept[1] or list(1)))
