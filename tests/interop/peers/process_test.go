package peers

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// Far above what any of the programs takes on a busy machine.
	commandTimeout = 60 * time.Second
	startTimeout   = 30 * time.Second
	pollEvery      = 20 * time.Millisecond
)

// program is the path of a program that `tests/run peers` has built.
func program(t *testing.T, name string) string {
	t.Helper()
	folder := os.Getenv("PEERS_BIN")
	if folder == "" {
		t.Fatal("PEERS_BIN is not set: run `tests/run peers`")
	}
	path := filepath.Join(folder, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run `tests/run peers`", err)
	}
	return path
}

// run runs a command to its end and returns what it said, in both ways.
func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), program(t, name), args...)
	timer := time.AfterFunc(commandTimeout, func() { command.Process.Kill() })
	defer timer.Stop()
	said, err := command.CombinedOutput()
	return string(said), err
}

// mustRun fails the test when the command fails.
func mustRun(t *testing.T, name string, args ...string) string {
	t.Helper()
	said, err := run(t, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, said)
	}
	return said
}

// server is a running program of any make. It is killed at the end of the test at the latest.
type server struct {
	command *exec.Cmd
	stdout  io.Reader
	stderr  *lockedBuffer
	ended   sync.Once
}

func start(t *testing.T, name string, args ...string) *server {
	t.Helper()
	s := &server{command: exec.Command(program(t, name), args...), stderr: &lockedBuffer{}}
	s.command.Stderr = s.stderr
	stdout, err := s.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.stdout = stdout
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, s.stderr)
		}
	})
	return s
}

// startJurat starts a program of ours and returns the URL that it says it listens on.
func startJurat(t *testing.T, name string, args ...string) (*server, string) {
	t.Helper()
	s := start(t, name, args...)
	timer := time.AfterFunc(startTimeout, s.kill)
	defer timer.Stop()
	line, err := bufio.NewReader(s.stdout).ReadString('\n')
	url, found := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !found {
		t.Fatalf("%s began with %q (%v):\n%s", name, line, err, s.stderr)
	}
	return s, url
}

// kill ends it as a power cut would.
func (s *server) kill() {
	s.ended.Do(func() {
		s.command.Process.Kill()
		s.command.Wait()
	})
}

// until waits for what another process does.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(startTimeout); !holds(); time.Sleep(pollEvery) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", startTimeout, what)
		}
	}
}

// lockedBuffer holds what a process says while the test may look.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
