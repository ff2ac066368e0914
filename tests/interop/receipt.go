package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	receiptHeader = "c2sp.org/tlog-proof@v1\n"
	entryHeader   = "jurat-entry/v1 checkpoint\n"
)

// receipt is a c2sp.org/tlog-proof whose extra line carries the entry.
type receipt struct {
	entry  []byte
	index  int64
	proof  []tlog.Hash
	signed []byte
}

// parseReceipt demands that the text is exactly what the parts would be written as.
func parseReceipt(text []byte) (*receipt, error) {
	rest, found := strings.CutPrefix(string(text), receiptHeader)
	if !found {
		return nil, fmt.Errorf("receipt begins %q, want %q", beginning(text), receiptHeader)
	}
	extraLine, rest, _ := strings.Cut(rest, "\n")
	extra, found := strings.CutPrefix(extraLine, "extra ")
	if !found {
		return nil, fmt.Errorf("receipt: second line is %q, want extra", extraLine)
	}
	indexLine, rest, _ := strings.Cut(rest, "\n")
	index, found := strings.CutPrefix(indexLine, "index ")
	if !found {
		return nil, fmt.Errorf("receipt: third line is %q, want index", indexLine)
	}
	// Without proof lines the empty line comes at once.
	proof, signed, found := "", strings.TrimPrefix(rest, "\n"), strings.HasPrefix(rest, "\n")
	if !found {
		if proof, signed, found = strings.Cut(rest, "\n\n"); !found {
			return nil, fmt.Errorf("receipt: no empty line before the checkpoint")
		}
		proof += "\n"
	}
	r := &receipt{signed: []byte(signed)}
	var err error
	if r.entry, err = base64.StdEncoding.Strict().DecodeString(extra); err != nil {
		return nil, fmt.Errorf("receipt: extra: %w", err)
	}
	if r.index, err = strconv.ParseInt(index, 10, 64); err != nil || r.index < 0 {
		return nil, fmt.Errorf("receipt: index %q", index)
	}
	if r.proof, err = parseHashes(proof); err != nil {
		return nil, fmt.Errorf("receipt: proof: %w", err)
	}
	if !bytes.Equal(r.text(), text) {
		return nil, fmt.Errorf("receipt is not canonical: %q", beginning(text))
	}
	return r, nil
}

func (r *receipt) text() []byte {
	return fmt.Appendf(nil, "%sextra %s\nindex %d\n%s\n%s", receiptHeader,
		base64.StdEncoding.EncodeToString(r.entry), r.index, formatHashes(r.proof), r.signed)
}

// note returns the foreign log's signed checkpoint inside an entry.
func noteOfEntry(entry []byte) ([]byte, error) {
	signed, found := bytes.CutPrefix(entry, []byte(entryHeader))
	if !found {
		return nil, fmt.Errorf("entry begins %q, want %q", beginning(entry), entryHeader)
	}
	return signed, nil
}
