package timestamps

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
	commandTimeout = 120 * time.Second
	startTimeout   = 60 * time.Second
)

// installed is the path of what `tests/run timestamps` has built or installed.
func installed(t *testing.T, name string) string {
	t.Helper()
	folder := os.Getenv("TIMESTAMPS_BIN")
	if folder == "" {
		t.Fatal("TIMESTAMPS_BIN is not set: run `tests/run timestamps`")
	}
	path := filepath.Join(folder, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run `tests/run timestamps`", err)
	}
	return path
}

// run runs a command to its end and returns what it said, in both ways.
func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	timer := time.AfterFunc(commandTimeout, func() { command.Process.Kill() })
	defer timer.Stop()
	said, err := command.CombinedOutput()
	return string(said), err
}

// mustRun fails the test when the command fails, and otherwise returns what it said.
func mustRun(t *testing.T, name string, args ...string) string {
	t.Helper()
	said, err := run(t, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, said)
	}
	return said
}

// mustFail fails the test when the command does not, or fails without these words.
func mustFail(t *testing.T, words []string, name string, args ...string) {
	t.Helper()
	said, err := run(t, name, args...)
	if err == nil {
		t.Fatalf("%s %s succeeded:\n%s", name, strings.Join(args, " "), said)
	}
	mustSay(t, said, words...)
}

// mustSay fails the test when a text lacks some of the words.
func mustSay(t *testing.T, said string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(said, word) {
			t.Errorf("it does not say %q:\n%s", word, said)
		}
	}
}

// startJurat starts a program of ours and returns the URL that it says it listens on. It is killed
// at the end of the test.
func startJurat(t *testing.T, name string, args ...string) string {
	t.Helper()
	command := exec.Command(installed(t, name), args...)
	stderr := &lockedBuffer{}
	command.Stderr = stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(startTimeout, func() { command.Process.Kill() })
	lines := bufio.NewReader(stdout)
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, stderr)
		}
	})
	line, err := lines.ReadString('\n')
	timer.Stop()
	url, found := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !found {
		t.Fatalf("%s began with %q (%v):\n%s", name, line, err, stderr)
	}
	go io.Copy(io.Discard, lines)
	return url
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

// write makes a file below a folder and returns its path.
func write(t *testing.T, folder, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(folder, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func mustNotSay(t *testing.T, said, word string) {
	t.Helper()
	if strings.Contains(said, word) {
		t.Errorf("it says %q:\n%s", word, said)
	}
}
