-- override: replaces the live settings of a room.
--
-- KEYS[1]  overrides  HASH  version, keys
-- ARGV     the new version, the keys as JSON
--
-- Returns 1, or 0 when the stored version is not the one before the new one.
if tonumber(redis.call('HGET', KEYS[1], 'version') or 0) ~= tonumber(ARGV[1]) - 1 then return 0 end
redis.call('HDEL', KEYS[1], '') -- a first write that is allowed also where no memory is left
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'keys', ARGV[2])
return 1
