package main

import (
	"fmt"
	"sort"

	"github.com/gomodule/redigo/redis"
)

// Redigo: commands, pipelines, transactions, and a pool that looks whether a connection is still open.
func redigo(address, password string) {
	options := []redis.DialOption{redis.DialDatabase(1), redis.DialPassword(password)}
	pool := &redis.Pool{
		MaxIdle: 3,
		Dial:    func() (redis.Conn, error) { return redis.Dial("tcp", address, options...) },
	}
	defer pool.Close()
	conn := pool.Get()

	same("OK", must(redis.String(conn.Do("SET", "text", "héllo", "EX", 100))))
	same("héllo", must(redis.String(conn.Do("GET", "text"))))
	ttl := must(redis.Int(conn.Do("TTL", "text"))).(int)
	same(true, ttl >= 90 && ttl <= 100)
	_, err := redis.String(conn.Do("SET", "text", "other", "NX"))
	same(redis.ErrNil, err)
	must(conn.Do("MSET", "a", 1, "b", 2))
	same([]string{"1", "2", ""}, must(redis.Strings(conn.Do("MGET", "a", "b", "none"))))
	same(int64(6), must(redis.Int64(conn.Do("INCRBY", "a", 5))))
	raw := []byte{0, 13, 10, 255}
	must(conn.Do("SET", raw, raw))
	same(raw, must(redis.Bytes(conn.Do("GET", raw))))

	for i := 0; i < 300; i++ {
		conn.Send("SET", fmt.Sprint("p:", i), i)
	}
	conn.Flush()
	for i := 0; i < 300; i++ {
		same("OK", must(redis.String(conn.Receive())))
	}
	found := map[string]bool{}
	for cursor := "0"; ; {
		reply := must(redis.Values(conn.Do("SCAN", cursor, "MATCH", "p:*", "COUNT", 50))).([]interface{})
		cursor = must(redis.String(reply[0], nil)).(string)
		for _, key := range must(redis.Strings(reply[1], nil)).([]string) {
			found[key] = true
		}
		if cursor == "0" {
			break
		}
	}
	same(300, len(found))

	conn.Send("MULTI")
	conn.Send("SET", "{t}a", 1)
	conn.Send("INCR", "{t}a")
	same([]interface{}{"OK", int64(2)}, must(redis.Values(conn.Do("EXEC"))))
	other := pool.Get()
	must(conn.Do("WATCH", "{t}a"))
	must(other.Do("SET", "{t}a", "theirs"))
	conn.Send("MULTI")
	conn.Send("SET", "{t}a", "mine")
	same(nil, must(conn.Do("EXEC")))
	same("theirs", must(redis.String(conn.Do("GET", "{t}a"))))

	_, err = conn.Do("INCR", "{t}a")
	same("ERR value is not an integer or out of range", err.Error())
	person := map[string]string{"name": "Ada", "born": "1815"}
	must(conn.Do("HSET", redis.Args{}.Add("hash").AddFlat(person)...))
	same(person, must(redis.StringMap(conn.Do("HGETALL", "hash"))))
	same(2, must(redis.Int(conn.Do("SADD", "set", "a", "b", "a"))))
	members := must(redis.Strings(conn.Do("SMEMBERS", "set"))).([]string)
	sort.Strings(members)
	same([]string{"a", "b"}, members)
	same(3, must(redis.Int(conn.Do("RPUSH", "list", "a", "b", "a"))))
	same([]string{"a", "b", "a"}, must(redis.Strings(conn.Do("LRANGE", "list", 0, -1))))
	same(7, must(redis.Int(conn.Do("EVAL", "return 7", 0))))

	// Its connection is closed from outside: the pool makes another one.
	id := must(conn.Do("CLIENT", "ID"))
	same(int64(1), must(other.Do("CLIENT", "KILL", "ID", id)))
	_, err = conn.Do("PING")
	same(true, err != nil)
	conn.Close()
	conn = pool.Get()
	same("theirs", must(redis.String(conn.Do("GET", "{t}a"))))
	must(conn.Do("FLUSHDB"))
	same(0, must(redis.Int(conn.Do("DBSIZE"))))
}
