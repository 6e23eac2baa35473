-- Looks at a key of another type than string, and can replace it by a record with the same content.
--
-- KEYS[1]  the key
-- ARGV[1]  '1' = with its content
-- ARGV[2]  most elements that it may have
-- ARGV[3]  most bytes of memory that it may take
-- ARGV[4]  empty, or the SHA-1 (hexadecimal) of the DUMP that is to be replaced
-- ARGV[5]  the record that replaces it; the key keeps its end
--
-- Returns  nil                     nothing is stored
--          'S'                     it is a string
--          'R'                     replaced
--          'L'                     it is too large, as for its content
--          'F' and a command       the server does not allow it
--          'M'                     another type
--          'h' hash, 's' set, 'z' sorted set, 'l' list, 'x' stream, then its DUMP, if asked
--
-- The number of elements is asked first: so what MEMORY USAGE adds up, and what DUMP writes, is bounded.

local key, pcall = KEYS[1], redis.pcall
local TYPES = {
  hash = { 'h', 'HLEN' },
  set = { 's', 'SCARD' },
  zset = { 'z', 'ZCARD' },
  list = { 'l', 'LLEN' },
  stream = { 'x', 'XLEN' },
}

local name = pcall('TYPE', key)
if name.err then return 'FTYPE' end
if name.ok == 'none' then return false end
if name.ok == 'string' then return 'S' end
local found = TYPES[name.ok]
if not found then return 'M' end
if ARGV[1] ~= '1' then return found[1] end

local count = pcall(found[2], key)
if type(count) == 'table' then return 'F' .. found[2] end
if count > tonumber(ARGV[2]) then return 'L' end
local bytes = pcall('MEMORY', 'USAGE', key, 'SAMPLES', '0')
if type(bytes) == 'table' then return 'FMEMORY USAGE' end
if bytes > tonumber(ARGV[3]) then return 'L' end
local dump = pcall('DUMP', key)
if type(dump) == 'table' then return 'FDUMP' end

-- Changed since: the caller sees by the DUMP what it is now.
if ARGV[4] == '' or redis.sha1hex(dump) ~= ARGV[4] then return found[1] .. dump end
redis.call('SET', key, ARGV[5], 'KEEPTTL')
return 'R'
