package main

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// checkpoint is the text of a c2sp.org/tlog-checkpoint: what the signatures are over.
type checkpoint struct {
	origin string
	tlog.Tree
}

func (c checkpoint) text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.origin, c.N, c.Hash)
}

// parseCheckpoint reads a checkpoint's text and demands that it is written as text would write it;
// extension lines may follow.
func parseCheckpoint(text string) (checkpoint, error) {
	lines := strings.SplitAfterN(text, "\n", 4)
	if len(lines) < 4 {
		return checkpoint{}, fmt.Errorf("checkpoint has %d lines, want 3 or more", len(lines)-1)
	}
	c := checkpoint{origin: strings.TrimSuffix(lines[0], "\n")}
	var err error
	if c.N, err = strconv.ParseInt(strings.TrimSuffix(lines[1], "\n"), 10, 64); err != nil {
		return checkpoint{}, fmt.Errorf("checkpoint size: %w", err)
	}
	if c.Hash, err = parseHash(strings.TrimSuffix(lines[2], "\n")); err != nil {
		return checkpoint{}, fmt.Errorf("checkpoint root hash: %w", err)
	}
	if c.origin == "" || c.N < 0 || c.text() != lines[0]+lines[1]+lines[2] {
		return checkpoint{}, fmt.Errorf("checkpoint is not canonical: %q", text)
	}
	return c, nil
}

func parseHash(line string) (tlog.Hash, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(line)
	if err != nil {
		return tlog.Hash{}, fmt.Errorf("%q: %w", line, err)
	}
	if len(raw) != tlog.HashSize {
		return tlog.Hash{}, fmt.Errorf("%q has %d bytes, want %d", line, len(raw), tlog.HashSize)
	}
	return tlog.Hash(raw), nil
}

// parseHashes reads one hash a line, each line ended.
func parseHashes(text string) ([]tlog.Hash, error) {
	if text == "" {
		return nil, nil
	}
	if !strings.HasSuffix(text, "\n") {
		return nil, fmt.Errorf("the last hash line is not ended: %q", text)
	}
	var hashes []tlog.Hash
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		h, err := parseHash(line)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, h)
	}
	return hashes, nil
}

func formatHashes(hashes []tlog.Hash) string {
	var b strings.Builder
	for _, h := range hashes {
		b.WriteString(h.String())
		b.WriteByte('\n')
	}
	return b.String()
}
