module wirespan.io/bookinfo/details

go 1.19
