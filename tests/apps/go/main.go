// The application model with net/http as server and client.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

var (
	listen = flag.String("listen", "", "where to listen")
	first  = flag.String("first", "", "the first backend")
	second = flag.String("second", "", "the second backend")
	pool   = flag.Int("pool", 0, "connections per host; 0 is no limit")
	pass   = flag.String("pass", "", "a header to pass on")
	client *http.Client
)

func get(host, call, token string, header http.Header) error {
	request, err := http.NewRequest(http.MethodGet, "http://"+host+"/"+call+"/"+token, nil)
	if err != nil {
		return err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

// 50 to 100 microseconds.
func compute() {
	end := time.Now().Add(50*time.Microsecond + time.Duration(rand.Int63n(int64(50*time.Microsecond))))
	for time.Now().Before(end) {
	}
}

func work(token string, header http.Header) error {
	if err := get(*first, "a", token, header); err != nil {
		return err
	}
	compute()
	if err := get(*second, "b", token, header); err != nil {
		return err
	}
	var both sync.WaitGroup
	var errs [2]error
	both.Add(2)
	go func() {
		defer both.Done()
		errs[0] = get(*first, "c", token, header)
	}()
	go func() {
		defer both.Done()
		errs[1] = get(*second, "d", token, header)
	}()
	both.Wait()
	if errs[0] != nil {
		return errs[0]
	}
	return errs[1]
}

func serve(response http.ResponseWriter, request *http.Request) {
	token := strings.TrimPrefix(request.URL.Path, "/work/")
	header := http.Header{}
	if value := request.Header.Get(*pass); value != "" {
		header.Set(*pass, value)
	}
	if err := work(token, header); err != nil {
		log.Print(err)
		response.WriteHeader(http.StatusBadGateway)
		return
	}
	io.WriteString(response, "work\n")
}

func main() {
	flag.Parse()
	client = &http.Client{Transport: &http.Transport{
		MaxConnsPerHost:     *pool,
		MaxIdleConns:        0,
		MaxIdleConnsPerHost: 1024,
	}}
	http.HandleFunc("/work/", serve)
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening")
	log.Fatal(http.Serve(listener, nil))
}
