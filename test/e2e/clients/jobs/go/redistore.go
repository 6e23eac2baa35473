package main

import (
	"net/http"
	"net/http/httptest"

	"github.com/boj/redistore"
)

// Gorilla's sessions of web sites, in redistore.
func redistoreSessions(address, password string) {
	store := must(redistore.NewRediStore(3, "tcp", address, password, []byte("not secret"))).(*redistore.RediStore)
	defer store.Close()
	visit := func(cookie string, change func(values map[interface{}]interface{})) (map[interface{}]interface{}, string) {
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		request.Header.Set("Cookie", cookie)
		session, err := store.Get(request, "visit")
		same(nil, err)
		answer := httptest.NewRecorder()
		change(session.Values)
		if len(session.Values) == 0 {
			session.Options.MaxAge = -1
		}
		same(nil, session.Save(request, answer))
		return session.Values, answer.Header().Get("Set-Cookie")
	}
	nothing := func(map[interface{}]interface{}) {}
	_, cookie := visit("", func(values map[interface{}]interface{}) { values["user"] = "ada" })
	found, _ := visit(cookie, nothing)
	same("ada", found["user"])
	visit(cookie, func(values map[interface{}]interface{}) { delete(values, "user") })
	found, _ = visit(cookie, nothing)
	same(0, len(found))
}
