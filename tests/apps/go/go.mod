module wirespan.test/app

go 1.19
