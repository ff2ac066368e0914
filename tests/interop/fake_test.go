package main

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	fakeOrigin  = "fake.example/log"
	receiptType = "text/plain; charset=utf-8"
)

// fake is the smallest service that does everything right. sabotage makes it do one thing wrong.
type fake struct {
	convicted bool
	sabotage  string

	mu        sync.Mutex
	signer    note.Signer
	vkey      string
	witnesses []*fakeWitness
	foreign   note.Verifier
	latest    checkpoint
	note      []byte
	entries   [][]byte
	hashes    []tlog.Hash
	published map[string]bool
}

// fakeWitness signs cosignature/v1.
type fakeWitness struct {
	cosigner
	key ed25519.PrivateKey
}

func newFakeWitness(t *testing.T, name string) *fakeWitness {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	typed := append([]byte{typeCosignatureV1}, public...)
	id := sha256.Sum256(append([]byte(name+"\n"), typed...))
	return &fakeWitness{
		cosigner: cosigner{
			name: name, keyHash: binary.BigEndian.Uint32(id[:]),
			kind: typeCosignatureV1, publicKey: public,
		},
		key: private,
	}
}

func (w *fakeWitness) vkey() string {
	return fmt.Sprintf("%s+%08x+%s", w.name, w.keyHash,
		base64.StdEncoding.EncodeToString(append([]byte{w.kind}, w.publicKey...)))
}

func (w *fakeWitness) cosign(text string, at time.Time) string {
	time := uint64(at.Unix())
	raw := binary.BigEndian.AppendUint32(nil, w.keyHash)
	raw = binary.BigEndian.AppendUint64(raw, time)
	raw = append(raw, ed25519.Sign(w.key, cosignedMessage(time, []byte(text)))...)
	return fmt.Sprintf("— %s %s\n", w.name, base64.StdEncoding.EncodeToString(raw))
}

func newFake(t *testing.T, foreignKey, sabotage string) *fake {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, fakeOrigin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := note.NewVerifier(foreignKey)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{
		sabotage: sabotage, signer: signer, vkey: vkey, foreign: foreign,
		published: map[string]bool{},
	}
	for _, name := range []string{"w1.example", "w2.example", "w3.example"} {
		f.witnesses = append(f.witnesses, newFakeWitness(t, name))
	}
	return f
}

func (f *fake) reader() tlog.HashReader { return (&foreignLog{hashes: f.hashes}).reader() }

func (f *fake) head(size int64) checkpoint {
	root, err := tlog.TreeHash(size, f.reader())
	if err != nil {
		panic(err)
	}
	return checkpoint{origin: fakeOrigin, Tree: tlog.Tree{N: size, Hash: root}}
}

// signed is the published checkpoint: by the log and by two of the three witnesses.
func (f *fake) signed() []byte {
	text := f.head(int64(len(f.entries))).text()
	signed, err := note.Sign(&note.Note{Text: text}, f.signer)
	if err != nil {
		panic(err)
	}
	at := time.Now()
	if f.sabotage == "old cosignature" {
		at = at.Add(-2 * time.Hour)
	}
	lines := f.witnesses[0].cosign(text, at) + f.witnesses[1].cosign(text, at)
	switch f.sabotage {
	case "one cosignature":
		lines = f.witnesses[0].cosign(text, at)
	case "forged cosignature":
		lines = f.witnesses[0].cosign(text, at) + f.witnesses[1].cosign(text+"x\n", at)
	}
	return append(signed, lines...)
}

func (f *fake) append(entry []byte) int64 {
	for i, old := range f.entries {
		if bytes.Equal(old, entry) && f.sabotage != "no deduplication" {
			return int64(i)
		}
	}
	index := int64(len(f.entries))
	hashed := entry
	if f.sabotage == "hash of another entry" && index == 5 {
		hashed = []byte("another entry")
	}
	hashes, err := tlog.StoredHashes(index, hashed, f.reader())
	if err != nil {
		panic(err)
	}
	f.hashes = append(f.hashes, hashes...)
	f.entries = append(f.entries, entry)
	return index
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	path := r.URL.Path
	switch {
	case path == "/add-checkpoint" || path == "/anchor":
		f.serveAdd(w, r)
	case path == "/checkpoint":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write(f.signed())
	case strings.HasPrefix(path, "/receipt/"):
		f.serveReceipt(w, path)
	case strings.HasPrefix(path, "/tile/"):
		f.serveTile(w, strings.TrimPrefix(path, "/tile/"))
	case strings.HasPrefix(path, "/proof/"):
		f.serveProof(w, r)
	case path == fmt.Sprintf("/logs/%x/checkpoint", sha256.Sum256([]byte(f.foreign.Name()))):
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write(f.note)
	default:
		http.NotFound(w, r)
	}
}

func (f *fake) serveAdd(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		http.Error(w, "POST only", 405)
		return
	}
	body, _ := io.ReadAll(r.Body)
	status, text := f.decide(body)
	if f.sabotage == "accepts forks" && status == 422 && text == isFork {
		status = 200
	}
	switch status {
	case 200:
	case 409:
		w.Header().Set("Content-Type", "text/x.tlog.size")
		w.WriteHeader(409)
		fmt.Fprintf(w, "%d\n", f.latest.N)
		return
	default:
		http.Error(w, text, status)
		return
	}
	entry := fmt.Appendf(nil, "%s%s", entryHeader, f.note)
	if f.sabotage == "entry without header" {
		entry = f.note
	}
	index := f.append(entry)
	w.Header().Set("Location", fmt.Sprintf("/receipt/%d", index))
	if r.URL.Path == "/add-checkpoint" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, f.witnesses[2].cosign(f.latest.text(), time.Now()))
		return
	}
	if index%2 == 0 {
		f.serveReceipt(w, fmt.Sprintf("/receipt/%d", index))
		return
	}
	w.Header().Set("Retry-After", "0")
	w.WriteHeader(202)
}

const isFork = "another root at this size"

// decide is tlog-witness in its order: 404, 403, 400, 409, 422. The text is the reason.
func (f *fake) decide(body []byte) (int, string) {
	if len(body) > bodyBytesMax {
		return 413, "too long"
	}
	head, signed, found := strings.Cut(string(body), "\n\n")
	oldLine, proofText, _ := strings.Cut(head+"\n", "\n")
	digits, isOld := strings.CutPrefix(oldLine, "old ")
	old, err := strconv.ParseInt(digits, 10, 64)
	if !found || !isOld || err != nil || strconv.FormatInt(old, 10) != digits {
		return 400, "old line"
	}
	proof, err := parseHashes(proofText)
	if err != nil || len(proof) > 63 {
		return 400, "proof lines"
	}
	text, _, _ := strings.Cut(signed, "\n\n")
	c, err := parseCheckpoint(text + "\n")
	if err != nil {
		return 400, "checkpoint"
	}
	if c.origin != f.foreign.Name() {
		return 404, "unknown origin"
	}
	n, err := note.Open([]byte(signed), note.VerifierList(f.foreign))
	if err != nil && strings.HasPrefix(err.Error(), "malformed") {
		return 400, "note"
	}
	if err != nil && f.sabotage != "does not verify signatures" {
		return 403, err.Error()
	}
	if f.convicted && f.sabotage != "forgives forks" {
		return 403, "evidence says that this log forked"
	}
	if old > c.N {
		return 400, "old size above the checkpoint's"
	}
	if old != f.latest.N {
		return 409, ""
	}
	if old == c.N && c.Hash != f.latest.Hash {
		f.convicted = true
		return 422, isFork
	}
	if !f.consistent(old, c, proof) {
		return 422, "not consistent"
	}
	f.latest = c
	if n == nil {
		n = &note.Note{Text: c.text()}
	}
	if f.sabotage != "keeps unknown lines" {
		n.UnverifiedSigs = nil
	}
	f.note, err = note.Sign(n)
	if err != nil {
		panic(err)
	}
	return 200, ""
}

func (f *fake) consistent(old int64, c checkpoint, proof []tlog.Hash) bool {
	switch {
	case old == 0:
		return len(proof) == 0
	case old == c.N:
		return len(proof) == 0 && c.Hash == f.latest.Hash
	default:
		return tlog.CheckTree(proof, c.N, c.Hash, old, f.latest.Hash) == nil
	}
}

func (f *fake) serveReceipt(w http.ResponseWriter, path string) {
	index, err := strconv.ParseInt(strings.TrimPrefix(path, "/receipt/"), 10, 64)
	if err != nil || index >= int64(len(f.entries)) {
		http.Error(w, "no such entry", 404)
		return
	}
	if !f.published[path] {
		f.published[path] = true
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(202)
		return
	}
	proof, err := tlog.ProveRecord(int64(len(f.entries)), index, f.reader())
	if err != nil {
		panic(err)
	}
	r := receipt{entry: f.entries[index], index: index, proof: proof, signed: f.signed()}
	switch f.sabotage {
	case "receipt of another entry":
		r.entry = f.entries[0]
	case "receipt without cosignatures":
		r.signed, _ = note.Sign(&note.Note{Text: f.head(int64(len(f.entries))).text()}, f.signer)
	}
	w.Header().Set("Content-Type", receiptType)
	w.Write(r.text())
}

func (f *fake) serveTile(w http.ResponseWriter, path string) {
	size := int64(len(f.entries))
	for level := 0; level < 3; level++ {
		for index := int64(0); index<<(8*(level+1)) < size; index++ {
			width := int(min((size>>(8*level))-index*tileWidth, tileWidth))
			for ; width > 0; width-- {
				tile := tlog.Tile{H: 8, L: level, N: index, W: width}
				if level == 0 && "/tile/"+path == tilePath("entries", index, width) {
					f.serveBundle(w, index, width)
					return
				}
				if "/tile/"+path == tilePath(strconv.Itoa(level), index, width) {
					f.serveHashes(w, tile)
					return
				}
			}
		}
	}
	http.Error(w, "no such tile", 404)
}

func (f *fake) serveHashes(w http.ResponseWriter, tile tlog.Tile) {
	data, err := tlog.ReadTileData(tile, f.reader())
	if err != nil {
		panic(err)
	}
	if f.sabotage == "flipped tile bit" {
		data[3] ^= 1
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Write(data)
}

func (f *fake) serveBundle(w http.ResponseWriter, index int64, width int) {
	var bundle []byte
	for _, entry := range f.entries[index*tileWidth:][:width] {
		bundle = binary.BigEndian.AppendUint16(bundle, uint16(len(entry)))
		bundle = append(bundle, entry...)
	}
	if f.sabotage == "flipped bundle bit" {
		bundle[len(bundle)-3] ^= 1
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(w)
	z.Write(bundle)
	z.Close()
}

// index reads which entry is asked for, by index or by leaf hash; there is none at -1.
func (f *fake) index(r *http.Request) int64 {
	query := r.URL.Query()
	if index, err := strconv.ParseInt(query.Get("index"), 10, 64); err == nil {
		return index
	}
	for i, entry := range f.entries {
		if tlog.RecordHash(entry).String() == query.Get("leaf") {
			return int64(i)
		}
	}
	return -1
}

func (f *fake) serveProof(w http.ResponseWriter, r *http.Request) {
	number := func(name string) int64 {
		n, err := strconv.ParseInt(r.URL.Query().Get(name), 10, 64)
		if err != nil {
			panic(err)
		}
		return n
	}
	var proof []tlog.Hash
	var err error
	if strings.HasSuffix(r.URL.Path, "consistency") {
		proof, err = tlog.ProveTree(number("to"), number("from"), f.reader())
	} else {
		proof, err = tlog.ProveRecord(number("size"), f.index(r), f.reader())
	}
	if err != nil {
		http.Error(w, err.Error(), 400)
		return
	}
	if f.sabotage == "wrong proof" {
		proof[0][0] ^= 1
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, formatHashes(proof))
}
