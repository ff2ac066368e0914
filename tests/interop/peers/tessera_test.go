package peers

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
)

const tesseraOrigin = "tessera.example/log"

// tessera is a log on disk that grows by one run of Tessera's posix-oneshot at a time.
type tessera struct {
	program string
	dir     string
	vkey    string
	entry   string
	entries int
}

func newTessera(t *testing.T, program string) *tessera {
	t.Helper()
	log := &tessera{program: program, dir: t.TempDir(), entry: "entry"}
	skey, vkey, err := note.GenerateKey(rand.Reader, tesseraOrigin)
	if err != nil {
		t.Fatal(err)
	}
	log.vkey = vkey
	log.write(t, "key", skey)
	return log
}

func (l *tessera) path(name string) string { return filepath.Join(l.dir, name) }

func (l *tessera) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(l.path(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// grow adds entries and returns when they are published, or not to be.
func (l *tessera) grow(t *testing.T, policy string, count int, options ...string) (string, error) {
	t.Helper()
	return run(t, l.program, append(l.args(t, policy, count), options...)...)
}

// growUntil adds entries until something holds, and then ends the program.
func (l *tessera) growUntil(t *testing.T, policy string, count int, holds func() bool) {
	t.Helper()
	running := start(t, l.program, l.args(t, policy, count)...)
	defer running.kill()
	until(t, "what Tessera was run for", holds)
}

func (l *tessera) args(t *testing.T, policy string, count int) []string {
	t.Helper()
	entries := t.TempDir()
	for range count {
		name := filepath.Join(entries, fmt.Sprintf("%04d", l.entries))
		text := fmt.Appendf(nil, "%s %d", l.entry, l.entries)
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		l.entries++
	}
	l.write(t, "policy", policy)
	return []string{
		"-storage_dir", l.path("log"),
		"-entries", filepath.Join(entries, "*"),
		"-private_key", l.path("key"),
		"-witness_policy_file", l.path("policy"),
	}
}

func (l *tessera) checkpoint(t *testing.T) []byte {
	t.Helper()
	signed, err := os.ReadFile(l.path("log/checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestTesseraCheckpointsAreCosignedAlsoWhenItMustLearnTheOldSize(t *testing.T) {
	for _, build := range []struct {
		name    string
		program string
		policy  func(*juratWitness, string) string
	}{
		{"as released, a key of type 0x04", "tessera-released", func(w *juratWitness, url string) string {
			return fmt.Sprintf("witness w %s %s\nquorum w\n", w.ed25519, url)
		}},
		{"newer formats, any of both keys", "posix-oneshot", func(w *juratWitness, url string) string {
			return w.members("w", url) + "quorum w\n"
		}},
		{"newer formats, a key of type 0x06", "posix-oneshot", func(w *juratWitness, url string) string {
			return fmt.Sprintf("witness w %s %s\nquorum w\n", w.mlDSA44, url)
		}},
	} {
		t.Run(build.name, func(t *testing.T) {
			log := newTessera(t, build.program)
			witness := startJuratWitness(t, "witness.example/w1", log.vkey)
			window := openWindow(t, witness.url)
			policy := build.policy(witness, window.URL)
			for _, run := range []struct {
				name   string
				before func()
				count  int
				want   []string
			}{
				// The empty tree comes first.
				{"the first", func() {}, 3, []string{"old 0: 200", "old 0: 200"}},
				{"the next", func() {}, 300, []string{"old 3: 200"}},
				{"an outage of the witness", func() { window.shut.Store(true) }, 5,
					[]string{"old 303: 503"}},
				{"after the outage", func() { window.shut.Store(false) }, 7,
					[]string{"old 308: 409 303", "old 303: 200"}},
				{"the published checkpoint is lost", func() {
					if err := os.Remove(log.path("log/checkpoint")); err != nil {
						t.Fatal(err)
					}
				}, 20, []string{"old 0: 409 315", "old 315: 200"}},
			} {
				run.before()
				said, err := log.grow(t, policy, run.count, "-witness_fail_open")
				if err != nil {
					t.Fatalf("%s: %v\n%s", run.name, err, said)
				}
				exchanges := window.take()
				t.Logf("%s: %d entries: %v", run.name, log.entries, exchanges)
				if !begin(exchanges, run.want) {
					t.Fatalf("%s: %v, want %v\n%s", run.name, exchanges, run.want, said)
				}
				if window.shut.Load() {
					continue
				}
				checkCosigned(t, witness, log, policy, exchanges[len(exchanges)-1])
			}
		})
	}
}

// begin reports whether these came first, and after them only more of the last. How often Tessera
// publishes on the way to the size that it is run for depends on how busy the machine is.
func begin(exchanges []exchange, want []string) bool {
	if len(exchanges) < len(want) {
		return false
	}
	for i, text := range want {
		if exchanges[i].String() != text {
			return false
		}
	}
	last := exchanges[len(want)-1].status
	return !slices.ContainsFunc(exchanges[len(want):], func(e exchange) bool {
		return e.status != last
	})
}

// checkCosigned verifies what Tessera published, what the witness answered, and what it shows.
func checkCosigned(
	t *testing.T, witness *juratWitness, log *tessera, policy string, last exchange,
) {
	t.Helper()
	logLine := "log " + log.vkey + "\n"
	published := verify(t, logLine+policy, log.checkpoint(t))
	if published.N != int64(log.entries) {
		t.Fatalf("published are %d entries of %d", published.N, log.entries)
	}
	both := fmt.Sprintf("witness e %s\nwitness m %s\ngroup both all e m\nquorum both\n",
		witness.ed25519, witness.mlDSA44)
	_, submitted, _ := strings.Cut(last.request, "\n\n")
	answered := verify(t, logLine+both, []byte(submitted+last.answer))
	_, signed := fetch(t, shownAt(witness.url, tesseraOrigin))
	shown := verify(t, logLine+both, signed)
	if answered != published || shown != published {
		t.Fatalf("published %v, answered %v, shown %v", published, answered, shown)
	}
}

// A log that publishes nothing that its policy is not satisfied with cannot publish a fork.
func TestForkOfTesseraIsRefusedAndNotPublished(t *testing.T) {
	log := newTessera(t, "tessera-released")
	witness := startJuratWitness(t, "witness.example/w1", log.vkey)
	window := openWindow(t, witness.url)
	policy := fmt.Sprintf("witness w %s %s\nquorum w\n", witness.ed25519, window.URL)
	if said, err := log.grow(t, policy, 10); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	// The same key signs other entries from the first on, and nobody else sees it do so.
	fork := &tessera{program: log.program, dir: t.TempDir(), vkey: log.vkey, entry: "forked"}
	key, err := os.ReadFile(log.path("key"))
	if err != nil {
		t.Fatal(err)
	}
	fork.write(t, "key", string(key))
	if said, err := fork.grow(t, "quorum none\n", 20); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	window.take()
	// It waits for its checkpoint for ever.
	fork.growUntil(t, policy, 1, func() bool { return len(window.seen()) >= 2 })
	want := "[old 20: 409 10 old 10: 422]"
	if got := fmt.Sprint(window.take()[:2]); got != want {
		t.Fatalf("%s, want %s", got, want)
	}
	unseen := verify(t, "log "+log.vkey+"\nquorum none\n", fork.checkpoint(t))
	if unseen.N != 20 {
		t.Fatalf("published are %d entries, of which the witness has seen none", unseen.N)
	}
}

// Should a release take keys of type 0x06, this says so, and TestTessera… can give them to it.
func TestReleasedTesseraTakesNoKeyOfType06(t *testing.T) {
	log := newTessera(t, "tessera-released")
	witness := startJuratWitness(t, "witness.example/w1", log.vkey)
	policy := fmt.Sprintf("witness w %s %s\nquorum w\n", witness.mlDSA44, witness.url)
	said, err := log.grow(t, policy, 1)
	if err == nil || !strings.Contains(said, "invalid witness config") {
		t.Fatalf("%v\n%s", err, said)
	}
}

// Tessera has one verifier for each URL: of two keys at one URL, the last that its policy names.
// It keeps no line but that key's, so that a policy that wants both is never satisfied.
func TestTesseraKeepsOneLineOfAWitnessThatAnswersTwo(t *testing.T) {
	log := newTessera(t, "posix-oneshot")
	witness := startJuratWitness(t, "witness.example/w1", log.vkey)
	window := openWindow(t, witness.url)
	any := witness.members("w", window.URL) + "quorum w\n"
	all := strings.Replace(any, "group w any", "group w all", 1)
	if said, err := log.grow(t, all, 1); err == nil ||
		!strings.Contains(said, "witness policy was not satisfied") {
		t.Fatalf("%v\n%s", err, said)
	}
	_, submitted, _ := strings.Cut(window.seen()[0].request, "\n\n")
	verify(t, "log "+log.vkey+"\n"+all, []byte(submitted+window.seen()[0].answer))
}

// verify opens a checkpoint under a policy, both as torchwood understands them.
func verify(t *testing.T, policy string, signed []byte) torchwood.Checkpoint {
	t.Helper()
	checkpoint, err := open(policy, signed)
	if err != nil {
		t.Fatalf("%v: checkpoint\n%s\nunder the policy\n%s", err, signed, policy)
	}
	return checkpoint
}

func open(policy string, signed []byte) (torchwood.Checkpoint, error) {
	parsed, err := torchwood.ParsePolicy([]byte(policy))
	if err != nil {
		return torchwood.Checkpoint{}, err
	}
	checkpoint, _, err := torchwood.VerifyCheckpoint(signed, parsed)
	return checkpoint, err
}

// shownAt is where a witness shows what it last cosigned.
func shownAt(url, origin string) string {
	return fmt.Sprintf("%s/%x/checkpoint", url, sha256.Sum256([]byte(origin)))
}

// fetch gets what may or may not be there.
func fetch(t *testing.T, url string) (int, []byte) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("GET %s: %v", url, err)
	}
	return response.StatusCode, body
}
