module wirespan.test/go-server

go 1.19
