package peers

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/torchwood/bastion"
)

// A witness that nobody can reach is asked all the same, through torchwood's bastion: what it
// cosigned of a fork is found by a peer, and a bastion that was gone is found again.
func TestWitnessBehindABastionIsAPeer(t *testing.T) {
	b := startBastion(t)
	log, fork := newForkingLog(t, "behind.example/log")
	inside := initJuratWitness(t, "inside.example/w", log.vkey)
	outside := initJuratWitness(t, "outside.example/w", log.vkey)
	peer := func(w *juratWitness, name, url string) string {
		if url != "" {
			url = fmt.Sprintf("url = %q\n", url)
		}
		return fmt.Sprintf("\n[[gossip.peer]]\nname = %q\n%sgossip_keys = [%q]\nkeys = [%q, %q]\n",
			name, url, w.gossip, w.ed25519, w.mlDSA44)
	}
	gossip := func(w *juratWitness, more string) {
		replace(t, w.config, func(text string) string {
			off := "#[gossip]\n#key = \"gossip.key\"\n"
			if !strings.Contains(text, off) {
				t.Fatalf("no commented [gossip] in:\n%s", text)
			}
			on := "[gossip]\nkey = \"gossip.key\"\nround_ms = 200\n"
			return strings.Replace(text, off, on, 1) + more
		})
	}
	gossip(inside, peer(outside, "outside.example/w", "")+
		fmt.Sprintf("\n[bastion]\naddress = %q\nkey = \"bastion.key\"\nroots = %q\n", b.address, b.roots))
	// The key by which the bastion knows it, and so its URL.
	said := mustRun(t, "jurat-witness", "check-config", inside.config)
	_, hash, found := strings.Cut(said, "Behind a bastion: https://"+b.address+"/")
	if !found {
		t.Fatalf("check-config does not say where it is: %s", said)
	}
	url := b.url + "/" + strings.TrimSpace(hash)
	gossip(outside, peer(inside, "inside.example/w", url))
	inside.server, inside.url = startJurat(t, "jurat-witness", "serve", "--config", inside.config)
	outside.server, outside.url = startJurat(t, "jurat-witness", "serve", "--config", outside.config)

	reached := func() bool { return status(url+"/witness.v0.json") == http.StatusOK }
	until(t, "the witness is there", reached)
	if got := status(url + "/metrics"); got != http.StatusNotFound {
		t.Fatalf("strangers see its metrics: %d", got)
	}
	// The one is shown one history, from behind the bastion, and the other another one.
	mustCosign(t, url, fork.request(t, 0, 8))
	b.drop()
	until(t, "it comes back", reached)
	mustCosign(t, outside.url, log.request(t, 0, 8))
	until(t, "the fork is found through the bastion", func() bool {
		_, list := fetch(t, outside.url+"/gossip/v0/evidence?since=0")
		return strings.Contains(string(list), " same-size ")
	})
	if got, _ := post(t, outside.url+"/add-checkpoint", log.request(t, 8, 9)); got != 403 {
		t.Fatalf("the convicted log is answered with %d", got)
	}
}

// foreignBastion is torchwood's: backends come over TLS, and requests over plain HTTP.
type foreignBastion struct {
	address string
	url     string
	roots   string

	mu       sync.Mutex
	backends []net.Conn
}

func startBastion(t *testing.T) *foreignBastion {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:         true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	// The root signs another certificate: one that signed itself is no end of a chain.
	root, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	leaf := *template
	leaf.IsCA, leaf.SerialNumber, leaf.KeyUsage = false, big.NewInt(2), x509.KeyUsageDigitalSignature
	parent, err := x509.ParseCertificate(root)
	if err != nil {
		t.Fatal(err)
	}
	leafPublic, leafPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := x509.CreateCertificate(rand.Reader, &leaf, parent, leafPublic, private)
	if err != nil {
		t.Fatal(err)
	}
	certificate := &tls.Certificate{Certificate: [][]byte{shown}, PrivateKey: leafPrivate}
	handler, err := bastion.New(&bastion.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate, nil },
		AllowedBackend: func([sha256.Size]byte) bool { return true },
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	b := &foreignBastion{
		address: listener.Addr().String(),
		roots:   filepath.Join(t.TempDir(), "roots.pem"),
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root})
	if err := os.WriteFile(b.roots, text, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.backends = append(b.backends, connection)
			b.mu.Unlock()
			go handler.HandleBackendConnection(connection)
		}
	}()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

// drop ends what backends have of connections.
func (b *foreignBastion) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, connection := range b.backends {
		connection.Close()
	}
	b.backends = nil
}

func status(url string) int {
	response, err := http.Get(url)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	return response.StatusCode
}
