package timestamps

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

const serviceOrigin = "jurat.example/log"

// service is a `jurat serve` with one witness, made by `jurat init` as it comes.
type service struct {
	url string
	// The root that `jurat init` tells its users to hand out.
	root string
	// The signing unit's certificate, for clients that are given it.
	unit string
	// What the log's users verify receipts under: its keys, its witness, and a quorum of that one.
	policy string
}

func startService(t *testing.T) *service {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "jurat")
	said := mustRun(t, installed(t, "jurat"),
		"init", dir, "--origin", serviceOrigin, "--listen", "127.0.0.1:0")
	var logKeys []string
	for word := range strings.FieldsSeq(said) {
		if strings.HasPrefix(word, serviceOrigin+"+") {
			logKeys = append(logKeys, word)
		}
	}
	if len(logKeys) != 2 {
		t.Fatalf("jurat init does not tell the log's keys: %s", said)
	}
	policy := ""
	for _, key := range logKeys {
		policy += "log " + key + "\n"
	}
	policy += startWitness(t, logKeys) + "quorum w\n"
	s := &service{
		policy: write(t, dir, "witnesses.policy", []byte(policy)),
		root:   filepath.Join(dir, "keys", "tsa", "ca.pem"),
	}
	s.url = startJurat(t, "jurat", "serve", "--config", filepath.Join(dir, "jurat.toml"))
	s.unit = s.fetchUnit(t, dir)
	return s
}

// startWitness starts one, and returns its lines of the policy, which name it w.
func startWitness(t *testing.T, logKeys []string) string {
	t.Helper()
	const name = "witness.example/w1"
	dir := filepath.Join(t.TempDir(), "witness")
	program := installed(t, "jurat-witness")
	said := mustRun(t, program, "init", dir, "--name", name, "--listen", "127.0.0.1:0")
	config := filepath.Join(dir, "witness.toml")
	for _, key := range logKeys {
		mustRun(t, program, "logs", "add", key, "--config", config)
	}
	url := startJurat(t, "jurat-witness", "serve", "--config", config)
	for line := range strings.Lines(said) {
		fields := strings.Fields(line)
		if len(fields) >= 3 && fields[0] == "witness" && fields[1] == name+"/ed25519" {
			return fmt.Sprintf("witness w %s %s\n", fields[2], url)
		}
	}
	t.Fatalf("jurat-witness init does not tell its key: %s", said)
	return ""
}

// fetchUnit asks for the chain, as sigstore's clients do: the unit's certificate is its first, the
// root its last.
func (s *service) fetchUnit(t *testing.T, dir string) string {
	t.Helper()
	answer, err := http.Get(s.url + "/api/v1/timestamp/certchain")
	if err != nil {
		t.Fatal(err)
	}
	rest := body(t, answer)
	var chain []*pem.Block
	for block, more := pem.Decode(rest); block != nil; block, more = pem.Decode(rest) {
		chain, rest = append(chain, block), more
	}
	root, _ := pem.Decode(read(t, s.root))
	if len(chain) < 2 || root == nil || !bytes.Equal(chain[len(chain)-1].Bytes, root.Bytes) {
		t.Fatalf("the chain of %d certificates does not end with %s", len(chain), s.root)
	}
	return write(t, dir, "unit.pem", pem.EncodeToMemory(chain[0]))
}

// ask posts a request to an authority and returns the answer to it, which is one for a rejection,
// too: clients drop the body of any other status.
func ask(t *testing.T, url string, request []byte) []byte {
	t.Helper()
	return post(t, url, "application/timestamp-query", request)
}

func post(t *testing.T, url, contentType string, request []byte) []byte {
	t.Helper()
	answer, err := http.Post(url, contentType, bytes.NewReader(request))
	if err != nil {
		t.Fatal(err)
	}
	content := body(t, answer)
	if found := answer.Header.Get("Content-Type"); found != "application/timestamp-reply" {
		t.Fatalf("%s answers with %q:\n%s", url, found, content)
	}
	return content
}

func body(t *testing.T, answer *http.Response) []byte {
	t.Helper()
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s has status %d:\n%s", answer.Request.URL, answer.StatusCode, content)
	}
	return content
}

// bothKinds runs a test with the URL of an authority whose tokens are plain, and with that of one
// whose tokens are upgraded before the client has them.
func (s *service) bothKinds(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("plain", func(t *testing.T) { test(t, s.url+"/timestamp") })
	t.Run("upgraded", func(t *testing.T) {
		upgrading := s.openUpgrading(t)
		test(t, upgrading.URL+"/timestamp")
		if upgrading.upgraded.Load() == 0 {
			t.Error("the client has asked for no token")
		}
	})
}

// upgrading stands before a service and has each of its tokens upgraded, for clients that cannot
// ask for that themselves.
type upgrading struct {
	*httptest.Server
	upgraded atomic.Int64
}

func (s *service) openUpgrading(t *testing.T) *upgrading {
	t.Helper()
	target, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	u := &upgrading{}
	u.Server = httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(request *httputil.ProxyRequest) {
			request.SetURL(target)
			request.Out.Header.Set("Prefer", "wait=20")
		},
		ModifyResponse: func(answer *http.Response) error {
			if answer.Header.Get("Preference-Applied") != "wait" {
				return fmt.Errorf("%d, and the token is not upgraded", answer.StatusCode)
			}
			u.upgraded.Add(1)
			return nil
		},
	})
	t.Cleanup(u.Close)
	return u
}

// upgrade has a token upgraded, or the token of an answer.
func (s *service) upgrade(t *testing.T, answer []byte) []byte {
	t.Helper()
	return post(t, s.url+"/timestamp/upgrade", "application/timestamp-reply", answer)
}

// document writes what is to be time-stamped.
func document(t *testing.T) string {
	t.Helper()
	return write(t, t.TempDir(), "document", []byte("What was there, and since when.\n"))
}

// onPath is the path of a program that is installed for the whole machine.
func onPath(t *testing.T, name string) string {
	t.Helper()
	for _, folder := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(folder, name)
		if found, err := os.Stat(path); err == nil && !found.IsDir() {
			return path
		}
	}
	t.Fatalf("%s is not installed: run `tests/run timestamps`", name)
	return ""
}
