package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	keyFile  = "foreign-log.key"
	vkeyFile = "foreign-log.vkey"
)

// createKey makes a log's Ed25519 key in dir, which it creates, and returns the verifier key.
func createKey(dir, name string) (string, error) {
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return "", fmt.Errorf("key: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("key: %w", err)
	}
	for _, file := range []struct{ name, text string }{{keyFile, skey}, {vkeyFile, vkey}} {
		f, err := os.OpenFile(
			filepath.Join(dir, file.name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return "", fmt.Errorf("key: %w", err)
		}
		_, err = f.WriteString(file.text + "\n")
		if err := errors.Join(err, f.Close()); err != nil {
			return "", fmt.Errorf("key: %w", err)
		}
	}
	return vkey, nil
}

// foreignLog is a log of its own: its entries follow from its name and their index alone, so that
// a second run against the same service continues the same tree.
type foreignLog struct {
	origin   string
	skey     string
	signer   note.Signer
	verifier note.Verifier
	fork     bool
	size     int64
	hashes   []tlog.Hash
}

func loadForeignLog(dir string) (*foreignLog, error) {
	read := func(name string) (string, error) {
		text, err := os.ReadFile(filepath.Join(dir, name))
		return strings.TrimSuffix(string(text), "\n"), err
	}
	skey, err := read(keyFile)
	if err != nil {
		return nil, fmt.Errorf("foreign log (run `interop key` first): %w", err)
	}
	vkey, err := read(vkeyFile)
	if err != nil {
		return nil, fmt.Errorf("foreign log: %w", err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		return nil, fmt.Errorf("foreign log: %w", err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("foreign log: %w", err)
	}
	return &foreignLog{origin: signer.Name(), skey: skey, signer: signer, verifier: verifier}, nil
}

// forked returns the same log as a liar would show it: same key, other entries, same size.
func (l *foreignLog) forked() (*foreignLog, error) {
	f := &foreignLog{
		origin: l.origin, skey: l.skey, signer: l.signer, verifier: l.verifier, fork: true,
	}
	return f, f.growTo(l.size)
}

func (l *foreignLog) reader() tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			if index >= int64(len(l.hashes)) {
				return nil, fmt.Errorf("foreign log holds no hash %d", index)
			}
			found[i] = l.hashes[index]
		}
		return found, nil
	})
}

func (l *foreignLog) growTo(size int64) error {
	for ; l.size < size; l.size++ {
		entry := fmt.Sprintf("entry %d of %s", l.size, l.origin)
		if l.fork {
			entry += ", as somebody else is told"
		}
		hashes, err := tlog.StoredHashes(l.size, []byte(entry), l.reader())
		if err != nil {
			return fmt.Errorf("foreign log: append: %w", err)
		}
		l.hashes = append(l.hashes, hashes...)
	}
	return nil
}

func (l *foreignLog) checkpoint() (checkpoint, error) {
	root, err := tlog.TreeHash(l.size, l.reader())
	if err != nil {
		return checkpoint{}, fmt.Errorf("foreign log: root hash: %w", err)
	}
	return checkpoint{origin: l.origin, Tree: tlog.Tree{N: l.size, Hash: root}}, nil
}

// submission is what a log sends: the tree as it stands, signed by those given.
type submission struct {
	checkpoint
	proof  []tlog.Hash
	signed []byte
}

func (l *foreignLog) submission(old int64, signers ...note.Signer) (*submission, error) {
	c, err := l.checkpoint()
	if err != nil {
		return nil, err
	}
	s := &submission{checkpoint: c}
	if 0 < old && old < l.size {
		if s.proof, err = tlog.ProveTree(l.size, old, l.reader()); err != nil {
			return nil, fmt.Errorf("foreign log: consistency proof from %d: %w", old, err)
		}
	}
	s.signed, err = note.Sign(&note.Note{Text: c.text()}, signers...)
	if err != nil {
		return nil, fmt.Errorf("foreign log: sign: %w", err)
	}
	return s, nil
}

// body is the request of c2sp.org/tlog-witness.
func (s *submission) body(old int64) []byte {
	return fmt.Appendf(nil, "old %d\n%s\n%s", old, formatHashes(s.proof), s.signed)
}
