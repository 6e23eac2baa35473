package main

import (
	"fmt"
	"sort"
	"time"

	"gopkg.in/redis.v5"
)

// go-redis: commands, pipelines, optimistic locking, scans.
func goRedis(address, password string) {
	client := redis.NewClient(&redis.Options{Addr: address, Password: password, DB: 1})
	defer client.Close()

	same("OK", must(client.Set("text", "héllo", 100*time.Second).Result()))
	same("héllo", must(client.Get("text").Result()))
	ttl := must(client.TTL("text").Result()).(time.Duration)
	same(true, ttl >= 90*time.Second && ttl <= 100*time.Second)
	same(false, must(client.SetNX("text", "other", time.Minute).Result()))
	same(true, must(client.SetNX("new", "1", time.Minute).Result()))
	_, err := client.Get("nothing").Result()
	same(redis.Nil, err)
	must(client.MSet("a", 1, "b", 2).Result())
	same([]interface{}{"1", "2", nil}, must(client.MGet("a", "b", "none").Result()))
	same(int64(6), must(client.IncrBy("a", 5).Result()))
	same(int64(2), must(client.Del("a", "b", "none").Result()))

	replies := must(client.Pipelined(func(pipe *redis.Pipeline) error {
		for i := 0; i < 300; i++ {
			pipe.Set(fmt.Sprint("p:", i), i, 0)
		}
		return nil
	}))
	same(300, len(replies.([]redis.Cmder)))
	found := map[string]bool{}
	keys := client.Scan(0, "p:*", 50).Iterator()
	for keys.Next() {
		found[keys.Val()] = true
	}
	same(nil, keys.Err())
	same(300, len(found))

	// Optimistic locking: somebody else is faster.
	must(client.Set("{t}a", 1, 0).Result())
	increment := func(meanwhile func()) error {
		return client.Watch(func(tx *redis.Tx) error {
			count, err := tx.Get("{t}a").Int64()
			if err != nil {
				return err
			}
			meanwhile()
			_, err = tx.Pipelined(func(pipe *redis.Pipeline) error {
				pipe.Set("{t}a", count+1, 0)
				return nil
			})
			return err
		}, "{t}a")
	}
	same(redis.TxFailedErr, increment(func() { client.Set("{t}a", 40, 0) }))
	same(nil, increment(func() {}))
	same("41", must(client.Get("{t}a").Result()))

	client.Set("text", "x", 0)
	same("ERR value is not an integer or out of range", client.Incr("text").Err().Error())
	person := map[string]string{"name": "Ada", "born": "1815"}
	same("OK", must(client.HMSet("hash", person).Result()))
	same(person, must(client.HGetAll("hash").Result()))
	same(int64(2), must(client.SAdd("set", "a", "b", "a").Result()))
	members := must(client.SMembers("set").Result()).([]string)
	sort.Strings(members)
	same([]string{"a", "b"}, members)
	same(int64(3), must(client.RPush("list", "a", "b", "a").Result()))
	same([]string{"a", "b", "a"}, must(client.LRange("list", 0, -1).Result()))
	same(int64(7), must(client.Eval("return 7", nil).Result()))
	same("OK", must(client.FlushDb().Result()))
	same(int64(0), must(client.DbSize().Result()))
}
