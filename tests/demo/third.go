// The third of four hops: asks the next one, and answers.
package main

import (
	"io"
	"log"
	"net/http"
	"os"
)

func main() {
	port, next := os.Args[1], os.Args[2]
	http.HandleFunc("/", func(response http.ResponseWriter, request *http.Request) {
		answer, err := http.Get("http://127.0.0.1:" + next + "/stock/17")
		if err != nil {
			http.Error(response, err.Error(), http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		io.Copy(response, answer.Body)
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, nil))
}
