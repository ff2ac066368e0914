// Package main serves transparency-dev's distributor as it is, handlers and decisions, with three
// things of ours: it takes the logs from a file instead of the list that is built in, keeps what
// it has in SQLite instead of MySQL, and says where it listens.
//
// The handlers are internal to the distributor's own commands, so `tests/run peers` puts this file
// among them, in a copy of the module, and builds it there.
package main

import (
	"database/sql"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/gorilla/mux"
	"github.com/transparency-dev/distributor/cmd/internal/distributor"
	api "github.com/transparency-dev/distributor/cmd/internal/http"
	"github.com/transparency-dev/distributor/config"
	_ "modernc.org/sqlite"
)

func main() {
	logs := flag.String("logs", "", "file of logs, as config/logs.yaml has them")
	witnesses := flag.String("witnesses", "", "file of witnesses, as config/witnesses-prod.yaml")
	database := flag.String("database", "", "file of the SQLite database")
	flag.Parse()
	known, err := config.ParseLogConfig(read(*logs))
	if err != nil {
		log.Fatal(err)
	}
	trusted, err := config.ParseWitnessesConfig(read(*witnesses))
	if err != nil {
		log.Fatal(err)
	}
	db, err := sql.Open("sqlite", *database)
	if err != nil {
		log.Fatal(err)
	}
	// SQLite has one writer; MySQL's transactions wait for each other, too.
	db.SetMaxOpenConns(1)
	d, err := distributor.NewDistributor(trusted, known, db)
	if err != nil {
		log.Fatal(err)
	}
	router := mux.NewRouter()
	api.NewServer(d).RegisterHandlers(router)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	log.Fatal(http.Serve(listener, router))
}

func read(path string) []byte {
	bytes, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	return bytes
}
