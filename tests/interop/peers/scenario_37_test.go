package peers

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// The scenario_37 of gossip: a C2SP witness and a distributor, neither of which knows of gossip, are
// peers. A log shows litewitness one history and ours another; both are in the distributor, which
// compares nobody with anybody. Only ours finds out, and what it cosigned is in the distributor
// without anybody's hand.
func TestScenario37UnmodifiedWitnessAndDistributorArePeers(t *testing.T) {
	log, fork := newForkingLog(t, "forking.example/log")
	ours := initJuratWitness(t, "ours.example/w", log.vkey)
	lite := startLitewitness(t, "lite.example/w", log.vkey)
	d := startDistributor(t, log, lite.vkey, ours.ed25519)
	replace(t, ours.config, func(text string) string {
		gossip := "[gossip]\nkey = \"gossip.key\"\nround_ms = 100\n" +
			fmt.Sprintf("distributors = [%q]\npassive_per_second = 1000\n", d.url)
		off := "#[gossip]\n#key = \"gossip.key\"\n"
		if !strings.Contains(text, off) {
			t.Fatalf("no commented [gossip] in:\n%s", text)
		}
		return strings.Replace(text, off, gossip, 1)
	})
	ours.server, ours.url = startJurat(t, "jurat-witness", "serve", "--config", ours.config)

	// Our head is brought, and accepted by the distributor's own rules.
	mustCosign(t, ours.url, log.request(t, 0, 5))
	until(t, "the distributor has our head", func() bool {
		return strings.Contains(d.byWitness(t, "ours.example/w"), "\n5\n")
	})
	mustCosign(t, ours.url, log.request(t, 5, 8))
	until(t, "the distributor has our newer head", func() bool {
		return strings.Contains(d.byWitness(t, "ours.example/w"), "\n8\n")
	})
	open37(t, d.byWitness(t, "ours.example/w"), log.vkey, ours.ed25519)

	// litewitness sees the other history, from its beginning: to it all is well. Whoever feeds
	// distributors brings what it cosigned.
	mustCosign(t, lite.url, fork.request(t, 0, 5))
	forked := fork.request(t, 5, 8)
	cosigned := append(fork.checkpoint(t, 8), mustCosign(t, lite.url, forked)...)
	if status := d.put(t, "lite.example/w", cosigned); status != http.StatusOK {
		t.Fatalf("the distributor answers litewitness's head with %d", status)
	}

	// Ours finds out, with a proof that needs nobody's word.
	evidence := filepath.Join(t.TempDir(), "fork.tlog-fork")
	until(t, "ours has evidence", func() bool {
		_, list := fetch(t, ours.url+"/gossip/v0/evidence?since=0")
		fields := strings.Fields(string(list))
		if len(fields) < 3 || fields[0] == "next" {
			return false
		}
		if fields[2] != "same-size" {
			t.Fatalf("evidence of another kind: %s", list)
		}
		_, file := fetch(t, ours.url+"/gossip/v0/evidence/"+fields[1])
		return os.WriteFile(evidence, file, 0o600) == nil
	})
	mustRun(t, "jurat", "verify", evidence, "--log-key", log.vkey)
	if status, said := post(t, ours.url+"/add-checkpoint", log.request(t, 8, 9)); status != 403 {
		t.Fatalf("ours answers the convicted log with %d: %s", status, said)
	}

	// The others noticed nothing: the one goes on to cosign, and the other shows both histories.
	mustCosign(t, lite.url, fork.request(t, 8, 9))
	for name, history := range map[string]*branch{"ours.example/w": log, "lite.example/w": fork} {
		if !strings.Contains(d.byWitness(t, name), history.root(t, 8)) {
			t.Fatalf("the distributor does not show what %s cosigned", name)
		}
	}
	if status, _ := fetch(t, d.url+"/distributor/v0/logs/"+log.id()+"/checkpoint.2"); status != 404 {
		t.Fatalf("two histories are one checkpoint: %d", status)
	}
}

// distributor is transparency-dev's, and knows one log.
type distributor struct {
	*server
	url string
	log *branch
}

func startDistributor(t *testing.T, log *branch, witnesses ...string) *distributor {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	logs := write("logs.yaml", fmt.Sprintf("Logs:\n  - Origin: %s\n    PublicKey: %s\n", log.origin, log.vkey))
	trusted := write("witnesses.yaml", "Witnesses:\n  - "+strings.Join(witnesses, "\n  - ")+"\n")
	d := &distributor{log: log}
	d.server, d.url = startJurat(t, "distributor",
		"-logtostderr", "-logs", logs, "-witnesses", trusted, "-database", filepath.Join(dir, "db"))
	return d
}

func (d *distributor) path(witness string) string {
	return fmt.Sprintf("%s/distributor/v0/logs/%s/byWitness/%s/checkpoint", d.url, d.log.id(), witness)
}

// byWitness is what it shows of a witness, nothing if it has nothing.
func (d *distributor) byWitness(t *testing.T, witness string) string {
	t.Helper()
	status, shown := fetch(t, d.path(witness))
	if status == http.StatusNotFound {
		return ""
	}
	if status != http.StatusOK {
		t.Fatalf("the distributor answers %d: %s", status, shown)
	}
	return string(shown)
}

func (d *distributor) put(t *testing.T, witness string, signed []byte) int {
	t.Helper()
	request, err := http.NewRequest(http.MethodPut, d.path(witness), bytes.NewReader(signed))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// branch is one history of a log that has two.
type branch struct {
	origin string
	vkey   string
	signer note.Signer
	size   int64
	hashes []tlog.Hash
}

// newForkingLog is a log of ten records in two histories; the first three are the same.
func newForkingLog(t *testing.T, origin string) (one, other *branch) {
	t.Helper()
	key, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	history := func(label string) *branch {
		b := &branch{origin: origin, vkey: vkey, signer: signer}
		for number := range 10 {
			record := fmt.Sprintf("record %d", number)
			if number >= 3 {
				record += label
			}
			hashes, err := tlog.StoredHashes(b.size, []byte(record), b)
			if err != nil {
				t.Fatal(err)
			}
			b.hashes = append(b.hashes, hashes...)
			b.size++
		}
		return b
	}
	return history(""), history(", rewritten")
}

// ReadHashes gives the log its own hashes.
func (b *branch) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for place, index := range indexes {
		hashes[place] = b.hashes[index]
	}
	return hashes, nil
}

func (b *branch) root(t *testing.T, size int64) string {
	t.Helper()
	root, err := tlog.TreeHash(size, b)
	if err != nil {
		t.Fatal(err)
	}
	return root.String()
}

// id is how distributors name the log.
func (b *branch) id() string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte("o:"+b.origin)))
}

func (b *branch) checkpoint(t *testing.T, size int64) []byte {
	t.Helper()
	text := fmt.Sprintf("%s\n%d\n%s\n", b.origin, size, b.root(t, size))
	signed, err := note.Sign(&note.Note{Text: text}, b.signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// request is the body of an add-checkpoint request.
func (b *branch) request(t *testing.T, from, to int64) []byte {
	t.Helper()
	body := fmt.Sprintf("old %d\n", from)
	if from > 0 {
		proof, err := tlog.ProveTree(to, from, b)
		if err != nil {
			t.Fatal(err)
		}
		for _, hash := range proof {
			body += hash.String() + "\n"
		}
	}
	return append([]byte(body+"\n"), b.checkpoint(t, to)...)
}

func post(t *testing.T, url string, body []byte) (int, []byte) {
	t.Helper()
	response, err := http.Post(url, "text/plain", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, said
}

// mustCosign gives the lines of a witness.
func mustCosign(t *testing.T, url string, request []byte) []byte {
	t.Helper()
	status, lines := post(t, url+"/add-checkpoint", request)
	if status != http.StatusOK {
		t.Fatalf("%s answers %d: %s", url, status, lines)
	}
	return lines
}

// open37 verifies a checkpoint with torchwood: the log's line and the witness's.
func open37(t *testing.T, signed, logKey, witnessKey string) {
	t.Helper()
	policy := fmt.Sprintf("log %s\nwitness w %s\nquorum w\n", logKey, witnessKey)
	verify(t, policy, []byte(signed))
}
