package peers

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// litewitness is one of torchwood's, and the ssh-agent that has its key.
type litewitness struct {
	*server
	url  string
	vkey string

	args []string
}

func startLitewitness(t *testing.T, name string, logKeys ...string) *litewitness {
	t.Helper()
	// Unix sockets want short paths, which t.TempDir does not give.
	dir, err := os.MkdirTemp("", "lite")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := torchwood.NewCosignatureVerifierFromKey(name, public)
	if err != nil {
		t.Fatal(err)
	}
	sshKey, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	socket, database := filepath.Join(dir, "agent"), filepath.Join(dir, "db")
	serveAgent(t, socket, private)
	list := filepath.Join(dir, "list")
	if err := os.WriteFile(list, []byte(strings.Join(logKeys, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "litelogs", database, list)
	l := &litewitness{
		vkey: verifier.String(),
		args: []string{"-name", name, "-db", database, "-ssh-agent", socket,
			"-key", ssh.FingerprintSHA256(sshKey)},
	}
	l.restart(t)
	return l
}

// restart starts it again, with what it has on its disk, at an address of its own choice.
func (l *litewitness) restart(t *testing.T) {
	t.Helper()
	const attempts = 5
	for range attempts {
		address := freeAddress(t)
		l.server = start(t, "litewitness", append(l.args, "-listen", address)...)
		until(t, "litewitness listens, or says that it cannot", func() bool {
			connection, err := net.Dial("tcp", address)
			if err == nil {
				connection.Close()
			}
			return err == nil || strings.Contains(l.stderr.String(), "address already in use")
		})
		// It tells its key when it starts; somebody else at its port does not know that key.
		if strings.Contains(l.stderr.String(), l.vkey) &&
			!strings.Contains(l.stderr.String(), "address already in use") {
			l.url = "http://" + address
			return
		}
		l.kill()
	}
	t.Fatalf("litewitness found no port in %d attempts:\n%s", attempts, l.stderr)
}

// freeAddress is one that nobody listens at now: litewitness does not say which port it got.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// serveAgent is an ssh-agent with one key.
func serveAgent(t *testing.T, socket string, key ed25519.PrivateKey) {
	t.Helper()
	keyring := agent.NewKeyring()
	if err := keyring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				go func() {
					defer connection.Close()
					agent.ServeAgent(keyring, connection)
				}()
			}
		}
	}()
}
