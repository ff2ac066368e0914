package peers

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// juratWitness is a jurat-witness with a key of each type.
type juratWitness struct {
	*server
	url     string
	config  string
	ed25519 string
	mlDSA44 string
	gossip  string
}

// startJuratWitness makes one that knows a log by these keys, and starts it.
func startJuratWitness(t *testing.T, name string, logKeys ...string) *juratWitness {
	t.Helper()
	w := initJuratWitness(t, name, logKeys...)
	w.server, w.url = startJurat(t, "jurat-witness", "serve", "--config", w.config)
	return w
}

// initJuratWitness makes one that does not run yet.
func initJuratWitness(t *testing.T, name string, logKeys ...string) *juratWitness {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "witness")
	said := mustRun(t, "jurat-witness", "init", dir, "--name", name, "--listen", "127.0.0.1:0")
	w := &juratWitness{config: filepath.Join(dir, "witness.toml")}
	for line := range strings.Lines(said) {
		fields := strings.Fields(line)
		if len(fields) > 1 && fields[0] == "#jurat:gossip" {
			w.gossip = fields[1]
		}
		if len(fields) < 3 || fields[0] != "witness" {
			continue
		}
		switch fields[1] {
		case name + "/ed25519":
			w.ed25519 = fields[2]
		case name + "/ml-dsa-44":
			w.mlDSA44 = fields[2]
		}
	}
	if w.ed25519 == "" || w.mlDSA44 == "" {
		t.Fatalf("jurat-witness init does not tell both keys: %s", said)
	}
	for _, key := range logKeys {
		mustRun(t, "jurat-witness", "logs", "add", key, "--config", w.config)
	}
	return w
}

// members are its lines of a policy: a group of that name, of which any key is enough.
func (w *juratWitness) members(group, url string) string {
	return fmt.Sprintf("witness %[1]s.ed25519 %[2]s %[4]s\n"+
		"witness %[1]s.ml-dsa-44 %[3]s %[4]s\n"+
		"group %[1]s any %[1]s.ed25519 %[1]s.ml-dsa-44\n", group, w.ed25519, w.mlDSA44, url)
}
