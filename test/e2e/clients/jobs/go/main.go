// The jobs of Go's libraries in one program, which is built once: go run . JOB PORT PASSWORD
package main

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
)

var jobs = map[string]func(address, password string){
	"redigo":    redigo,
	"redistore": redistoreSessions,
	"go-redis":  goRedis,
}

func main() {
	jobs[os.Args[1]]("127.0.0.1:"+os.Args[2], os.Args[3])
	fmt.Println("ok")
}

func same(expected, found interface{}) {
	if !reflect.DeepEqual(expected, found) {
		panic(fmt.Sprintf("expected %#v, found %#v", expected, found))
	}
}

func must(value interface{}, err error) interface{} {
	if err != nil {
		panic(err)
	}
	return value
}

// lacks fails unless err is about a command that Rondo does not have; it prints which one.
func lacks(what string, err error) {
	found := regexp.MustCompile(`unknown command '(\w+)'`).FindStringSubmatch(fmt.Sprint(err))
	if found == nil {
		panic(fmt.Sprintf("%s: %v", what, err))
	}
	fmt.Printf("lacks %s: %s\n", what, strings.ToUpper(found[1]))
}
