package peers

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"
)

// Everything but the service and one of its witnesses is other people's here: the log that anchors
// is Tessera's, the other witness is litewitness, and the receipts are verified by torchwood.
func TestServiceWaitsForLitewitnessWhenItsQuorumIsBoth(t *testing.T) {
	log := newTessera(t, "tessera-released")
	s := startService(t, "all", log.vkey)
	cosigner := fmt.Sprintf("witness jurat %s %s\nquorum jurat\n", s.cosigner, s.url)
	// Each line of both witnesses, not only a quorum of them.
	everyLine := strings.Replace(s.policy, "group own any", "group own all", 1)

	s.grow(t, log, cosigner, 10)
	// The empty tree is an entry, too.
	s.awaitReceipt(t, 0)
	s.awaitReceipt(t, 1)
	s.awaitPublished(t, 2, everyLine)
	until(t, "litewitness has cosigned the same size again", func() bool {
		return strings.Contains(fmt.Sprint(s.window.seen()), "old 2: 200")
	})

	s.lite.kill()
	s.grow(t, log, cosigner, 10)
	until(t, "our witness has cosigned what litewitness has not", func() bool {
		return s.ownWitnessHas(t, 3)
	})
	if status := s.receipt(t, 2); status != http.StatusAccepted {
		t.Fatalf("without litewitness the receipt has status %d", status)
	}
	if status, signed := fetch(t, s.url+"/checkpoint"); status != http.StatusOK ||
		verify(t, everyLine, signed).N != 2 {
		t.Fatalf("without litewitness, %d:\n%s", status, signed)
	}
	until(t, "the service says that its checkpoint is old, and who is missing", func() bool {
		status, _ := fetch(t, s.url+"/health")
		missing := s.missing(t)
		return status == http.StatusServiceUnavailable &&
			len(missing) == 1 && missing[0] == s.window.URL
	})

	s.lite.restart(t)
	s.window.aim(s.lite.url)
	s.awaitReceipt(t, 2)
	s.awaitPublished(t, 3, everyLine)
	s.readWhole(t, 3)
	if status, health := fetch(t, s.url+"/health"); status != http.StatusOK {
		t.Fatalf("with litewitness again, /health has status %d: %s", status, health)
	}
}

func TestServiceGoesOnWithoutLitewitnessWhenEitherWillDo(t *testing.T) {
	log := newTessera(t, "tessera-released")
	s := startService(t, "any", log.vkey)
	cosigner := fmt.Sprintf("witness jurat %s %s\nquorum jurat\n", s.cosigner, s.url)
	s.grow(t, log, cosigner, 10)
	s.awaitReceipt(t, 1)
	until(t, "litewitness has cosigned", func() bool {
		return strings.Contains(fmt.Sprint(s.window.seen()), "old 0: 200")
	})

	s.lite.kill()
	s.grow(t, log, cosigner, 10)
	s.awaitReceipt(t, 2)
	s.awaitPublished(t, 3, strings.Replace(s.policy, "quorum two", "quorum own", 1))

	// What it missed meanwhile it is shown when it is back.
	s.lite.restart(t)
	s.window.aim(s.lite.url)
	until(t, "both have cosigned what is published", func() bool {
		both := strings.Replace(s.policy, "group two any", "group two all", 1)
		_, signed := fetch(t, s.url+"/checkpoint")
		checkpoint, err := open(both, signed)
		return err == nil && checkpoint.N == 3
	})
}

// service is a `jurat serve` with two witnesses: litewitness, behind a window, and a jurat-witness.
type service struct {
	url      string
	policy   string
	cosigner string
	config   string
	lite     *litewitness
	own      *juratWitness
	window   *window
}

const serviceOrigin = "jurat.example/log"

// startService starts one whose quorum is that many of its two witnesses, and that anchors one log.
func startService(t *testing.T, quorum, anchored string) *service {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "jurat")
	said := mustRun(t, "jurat", "init", dir, "--origin", serviceOrigin, "--listen", "127.0.0.1:0")
	s := &service{config: filepath.Join(dir, "jurat.toml")}
	var logKeys []string
	for word := range strings.FieldsSeq(said) {
		switch {
		case strings.HasPrefix(word, serviceOrigin+"+"):
			logKeys = append(logKeys, word)
		case strings.HasPrefix(word, serviceOrigin+"/cosigner+") && s.cosigner == "":
			s.cosigner = word
		}
	}
	if len(logKeys) != 2 || s.cosigner == "" {
		t.Fatalf("jurat init does not tell its keys: %s", said)
	}
	s.lite = startLitewitness(t, "lite.example/w", logKeys...)
	s.own = startJuratWitness(t, "witness.example/w1", logKeys...)
	s.window = openWindow(t, s.lite.url)
	for _, key := range logKeys {
		s.policy += "log " + key + "\n"
	}
	s.policy += fmt.Sprintf("witness lite %s %s\n", s.lite.vkey, s.window.URL) +
		s.own.members("own", s.own.url) +
		"group two " + quorum + " lite own\nquorum two\n"
	replace(t, filepath.Join(dir, "witnesses.policy"), func(string) string { return s.policy })
	// A refresh is the same size again, which the witnesses take, or do not. Without time-stamps
	// the first entry is the log's, not the start of a unit.
	replace(t, s.config, func(text string) string {
		others, timestamps, found := strings.Cut(text, "\n[timestamp]")
		if !found || strings.Contains(timestamps, "\n[") {
			t.Fatalf("[timestamp] is not the last table of:\n%s", text)
		}
		return strings.NewReplacer(
			"refresh_s = 30 ", "refresh_s = 1 ", "stale_after_s = 120 ", "stale_after_s = 4 ",
		).Replace(others)
	})
	mustRun(t, "jurat", "check-config", "--config", s.config)
	mustRun(t, "jurat", "logs", "add", anchored, "--config", s.config)
	_, s.url = startJurat(t, "jurat", "serve", "--config", s.config)
	return s
}

func replace(t *testing.T, path string, with func(string) string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(with(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
}

// awaitPublished waits until a checkpoint of that size is published, and verifies it under a
// policy that is the service's, or is stricter.
func (s *service) awaitPublished(t *testing.T, size int64, policy string) {
	t.Helper()
	until(t, fmt.Sprintf("size %d is published", size), func() bool {
		status, signed := fetch(t, s.url+"/checkpoint")
		if status != http.StatusOK {
			return false
		}
		return verify(t, s.policy, signed).N >= size
	})
	_, signed := fetch(t, s.url+"/checkpoint")
	verify(t, policy, signed)
}

// receipt returns the status of an entry's receipt, which is verified if it is there.
func (s *service) receipt(t *testing.T, index int) int {
	t.Helper()
	status, receipt := fetch(t, fmt.Sprintf("%s/receipt/%d", s.url, index))
	if status == http.StatusOK {
		verifyReceipt(t, s.policy, receipt)
	}
	return status
}

func (s *service) awaitReceipt(t *testing.T, index int) {
	t.Helper()
	until(t, fmt.Sprintf("receipt %d is there", index), func() bool {
		return s.receipt(t, index) == http.StatusOK
	})
}

// grow lets Tessera's log grow, of which the service is the witness.
func (s *service) grow(t *testing.T, log *tessera, policy string, count int) {
	t.Helper()
	if said, err := log.grow(t, policy, count); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	verify(t, "log "+log.vkey+"\n"+policy, log.checkpoint(t))
}

// missing are the URLs of the witnesses that /health has an error of.
func (s *service) missing(t *testing.T) (urls []string) {
	t.Helper()
	var health struct {
		Witnesses []struct {
			Error *string
			URL   string
		}
	}
	_, text := fetch(t, s.url+"/health")
	if err := json.Unmarshal(text, &health); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for _, witness := range health.Witnesses {
		if witness.Error != nil {
			urls = append(urls, witness.URL)
		}
	}
	return urls
}

func (s *service) ownWitnessHas(t *testing.T, size int64) bool {
	t.Helper()
	_, signed := fetch(t, shownAt(s.own.url, serviceOrigin))
	var logKeys string
	for line := range strings.Lines(s.policy) {
		if strings.HasPrefix(line, "log ") {
			logKeys += line
		}
	}
	return verify(t, logKeys+s.own.members("own", s.own.url)+"quorum own\n", signed).N >= size
}

// readWhole reads the log by its tiles, and verifies each entry.
func (s *service) readWhole(t *testing.T, size int64) {
	t.Helper()
	_, signed := fetch(t, s.url+"/checkpoint")
	checkpoint := verify(t, s.policy, signed)
	fetcher, err := torchwood.NewTileFetcher(s.url)
	if err != nil {
		t.Fatal(err)
	}
	client, err := torchwood.NewClient(fetcher)
	if err != nil {
		t.Fatal(err)
	}
	var read int64
	for range client.AllEntries(t.Context(), checkpoint.Tree, 0) {
		read++
	}
	if err := client.Err(); err != nil || read != size {
		t.Fatalf("read %d entries, want %d: %v", read, size, err)
	}
}

// verifyReceipt takes the entry from the receipt, which may say what it likes there, and demands
// that the entry is in the log.
func verifyReceipt(t *testing.T, policy string, receipt []byte) {
	t.Helper()
	parsed, err := torchwood.ParsePolicy([]byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	entry, err := torchwood.ProofExtraData(receipt)
	if err != nil {
		t.Fatalf("%v: receipt\n%s", err, receipt)
	}
	if err := torchwood.VerifyProof(parsed, tlog.RecordHash(entry), receipt); err != nil {
		t.Fatalf("%v: receipt\n%s", err, receipt)
	}
}
