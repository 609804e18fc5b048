"""Lua scripts: each runs in Redis without another command in between, so that check-and-set is exact.

The keys of a script are the secret's hash, and the sorted set of the paths that can be read. The hash has the fields
`current` (the newest version), `labels`, and for each version N `N:data`, `N:created`, `N:deleted` and `N:destroyed`.
"""

from __future__ import annotations

_NOW = """
local time = redis.call('TIME')
local now = time[1] .. '.' .. string.format('%06d', time[2])
"""

WRITE = (
    _NOW
    + """
local path, data, expected, kept = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local current = tonumber(redis.call('HGET', KEYS[1], 'current') or '0')
if expected == 'absent' then
  if redis.call('ZSCORE', KEYS[2], path) then return {0, current} end
elseif expected ~= 'any' and expected ~= tostring(current) then
  return {0, current}
end
local new = current + 1
redis.call('HSET', KEYS[1], 'current', new, new .. ':data', data, new .. ':created', now)
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local version = string.match(field, '^(%d+):')
  if version and tonumber(version) <= new - kept then redis.call('HDEL', KEYS[1], field) end
end
redis.call('ZADD', KEYS[2], 0, path)
return {1, new}
"""
)
"""ARGV: path, data, the expected version or `absent` or `any`, versions to keep.

Returns 1 and the new version, or 0 and the newest one."""

READ = """
local version = ARGV[1]
if version == '' then version = redis.call('HGET', KEYS[1], 'current') end
if not version then return {} end
local found = redis.call('HMGET', KEYS[1], version .. ':data', version .. ':created', version .. ':deleted', 'labels')
return {version, found[1], found[2], found[3], found[4]}
"""
"""ARGV: a version, or nothing for the newest. Returns version, data, created, deleted and labels, or nothing."""

DELETE = (
    _NOW
    + """
if redis.call('ZREM', KEYS[2], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], redis.call('HGET', KEYS[1], 'current') .. ':deleted', now)
return 1
"""
)
"""ARGV: path. Returns 0 without a secret at the path."""

UNDELETE = """
local version = ARGV[2]
if redis.call('HEXISTS', KEYS[1], version .. ':data') == 0 then return 0 end
redis.call('HDEL', KEYS[1], version .. ':deleted')
if redis.call('HGET', KEYS[1], 'current') == version then redis.call('ZADD', KEYS[2], 0, ARGV[1]) end
return 1
"""
"""ARGV: path, version. Returns 0 if there is no such version, or if it is destroyed."""

DESTROY = """
local version = ARGV[2]
if redis.call('HEXISTS', KEYS[1], version .. ':created') == 0 then return 0 end
redis.call('HDEL', KEYS[1], version .. ':data', version .. ':deleted')
redis.call('HSET', KEYS[1], version .. ':destroyed', 1)
if redis.call('HGET', KEYS[1], 'current') == version then redis.call('ZREM', KEYS[2], ARGV[1]) end
return 1
"""
"""ARGV: path, version. Returns 0 if there is no such version."""

HISTORY = """
local found = {}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local version = string.match(field, '^(%d+):created$')
  if version then
    local rest = redis.call('HMGET', KEYS[1], field, version .. ':deleted', version .. ':destroyed')
    found[#found + 1] = {version, rest[1], rest[2], rest[3]}
  end
end
return found
"""
"""Returns version, created, deleted and destroyed of each version, in any order."""

LABEL = """
if redis.call('HEXISTS', KEYS[1], 'current') == 0 then return 0 end
redis.call('HSET', KEYS[1], 'labels', ARGV[1])
return 1
"""
"""ARGV: labels. Returns 0 if there never was a secret."""
