// Command litelogs tells a litewitness (filippo.io/torchwood) which logs it has: litewitness takes
// them from its SQLite database alone.
//
//	litelogs DB LIST
//
// LIST has a verifier key a line; its name is the log's origin, and a log may have several. The
// database is created, or added to. Litewitness's own command for this depends on modules that the
// Go module proxy does not have.
package main

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	"filippo.io/torchwood"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// The tables as litewitness itself would create them.
const schema = `
	CREATE TABLE IF NOT EXISTS log (
		origin TEXT PRIMARY KEY,
		tree_size INTEGER NOT NULL,
		tree_hash TEXT NOT NULL
	);
	CREATE TABLE IF NOT EXISTS key (
		origin TEXT NOT NULL,
		key TEXT NOT NULL,
		FOREIGN KEY(origin) REFERENCES log(origin)
	);
`

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: litelogs DB LIST")
	}
	if err := fill(os.Args[1], os.Args[2]); err != nil {
		log.Fatal("litelogs: ", err)
	}
}

func fill(path, list string) (err error) {
	text, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	db, err := sqlite.OpenConn(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := sqlitex.ExecuteScript(db, schema, nil); err != nil {
		return err
	}
	end, err := sqlitex.ImmediateTransaction(db)
	if err != nil {
		return err
	}
	defer end(&err)
	for _, vkey := range strings.Fields(string(text)) {
		if err := add(db, vkey); err != nil {
			return fmt.Errorf("%q: %w", vkey, err)
		}
	}
	return nil
}

func add(db *sqlite.Conn, vkey string) error {
	// Litewitness would find a key that it cannot use only when the log first comes.
	verifier, err := torchwood.NewLogVerifier(vkey)
	if err != nil {
		return err
	}
	empty := sha256.Sum256(nil)
	for _, row := range []struct {
		insert string
		values []any
	}{
		{
			"INSERT OR IGNORE INTO log (origin, tree_size, tree_hash) VALUES (?, 0, ?)",
			[]any{verifier.Name(), base64.StdEncoding.EncodeToString(empty[:])},
		},
		{"INSERT INTO key (origin, key) VALUES (?, ?)", []any{verifier.Name(), vkey}},
	} {
		err := sqlitex.Execute(db, row.insert, &sqlitex.ExecOptions{Args: row.values})
		if err != nil {
			return err
		}
	}
	return nil
}
