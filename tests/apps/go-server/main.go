// A plain net/http server for the end-to-end tests: says where it listens, answers every path.
//
//	/status/503   that status
//	/bytes/1000   so many bytes
//	/call/1234    what the server on that port of loopback answers
//	anything      "hello"
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("listening on %d\n", listener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(listener, http.HandlerFunc(answer)))
}

func answer(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	last := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	number, err := strconv.Atoi(last)
	switch {
	case err == nil && strings.Contains(r.URL.Path, "/status/"):
		w.WriteHeader(number)
	case err == nil && strings.Contains(r.URL.Path, "/bytes/"):
		_, _ = io.WriteString(w, strings.Repeat("x", number))
	case err == nil && strings.Contains(r.URL.Path, "/call/"):
		answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/called", number))
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		_, _ = io.Copy(w, answer.Body)
	default:
		_, _ = io.WriteString(w, "hello")
	}
}
