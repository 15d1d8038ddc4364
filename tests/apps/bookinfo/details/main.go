// What is known of a book.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"path"
)

func main() {
	http.HandleFunc("/details/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{
			"id": path.Base(r.URL.Path), "author": "William Shakespeare", "year": 1595, "type": "paperback", "pages": 200,
		})
	})
	http.HandleFunc("/health", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("{}")) })
	log.Fatal(http.ListenAndServe(":9080", nil))
}
