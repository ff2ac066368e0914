package main

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"
)

// A verifier of tlog-fork files, written from spec/evidence.md and spec/gossip.md alone.

const (
	forkFormat     = "jurat/tlog-fork@v0"
	stateFormat    = "jurat/gossip-state@v0"
	pageFormat     = "jurat/gossip-page@v0"
	tagLabel       = "jurat/gossip-tag@v0\n"
	tlogProofLine  = "c2sp.org/tlog-proof@v1"
	fileBytesMax   = 288 << 10
	noteBytesMax   = 128 << 10
	proofBytesMax  = 256 << 10
	statementMax   = 8 << 10
	linesMax       = 64
	hashesMax      = 63
	failedLinesMax = 2
	longTextBytes  = 8 << 10
	omissionMin    = 10
)

var emptyRoot = tlog.Hash(sha256.Sum256(nil))

// evidence is a file that was read: a contradiction, if somebody signed it.
type evidence struct {
	kind   string
	origin string
	a, b   *statement
	by     accused
	id     [sha256.Size]byte
}

// accused is the cosigner that a file names, and the times of its lines.
type accused struct {
	name  string
	hash  uint32
	times []uint64
	text  string
}

// statement is a signed note: a checkpoint, or what a gossip key says.
type statement struct {
	text   string
	lines  []signatureLine
	head   checkpoint
	gossip []string
}

type signatureLine struct {
	name      string
	hash      uint32
	signature []byte
}

// time is that of a timestamped signature.
func (l signatureLine) time() (uint64, bool) {
	if len(l.signature) < timestampBytes {
		return 0, false
	}
	t := binary.BigEndian.Uint64(l.signature)
	return t, t <= math.MaxInt64
}

// parseEvidence is EVI-01 to EVI-23: everything but the signatures.
func parseEvidence(file []byte) (*evidence, error) {
	if len(file) > fileBytesMax || !utf8.Valid(file) {
		return nil, errors.New("too large, or not UTF-8")
	}
	first, rest, found := strings.Cut(string(file), "\n")
	if first != forkFormat || !found {
		return nil, fmt.Errorf("the first line is %q", first)
	}
	head, notes, found := strings.Cut(rest, "\n\n")
	if strings.HasPrefix(rest, "\n") {
		head, notes, found = "", rest[1:], true
	}
	if !found {
		return nil, errors.New("there is no empty line before the notes")
	}
	var lines []string
	if head != "" {
		lines = strings.Split(head, "\n")
	}
	e := &evidence{}
	switch {
	case len(lines) == 0 && strings.Count(notes, "\n\n") == 1:
		return e, e.parseEmpty(notes)
	case len(lines) == 0:
		return e, e.parseSameSize(notes)
	case strings.HasPrefix(lines[0], "root "):
		return e, e.parseOpening(lines, notes)
	}
	kind, found := strings.CutPrefix(lines[0], "kind ")
	if !found {
		return nil, fmt.Errorf("the second line is %q", lines[0])
	}
	e.kind = kind
	switch kind {
	case "entry":
		return e, e.parseEntry(lines[1:], notes)
	case "cosigner-regress":
		return e, e.parseRegress(lines[1:], notes)
	case "omission":
		return e, e.parseOmission(lines[1:], notes)
	case "gossip-equivocation":
		return e, e.parseEquivocation(lines[1:], notes)
	}
	return nil, fmt.Errorf("kind %q", kind)
}

func (e *evidence) parseEmpty(notes string) error {
	e.kind = "empty"
	var err error
	if e.a, err = parseSignedCheckpoint(notes); err != nil {
		return err
	}
	e.origin = e.a.head.origin
	if e.a.head.N != 0 || e.a.head.Hash == emptyRoot {
		return errors.New("the tree is as it should be")
	}
	e.identify("", e.a.head.text())
	return nil
}

func (e *evidence) parseSameSize(notes string) error {
	e.kind = "same-size"
	if err := e.parseCheckpoints(notes); err != nil {
		return err
	}
	if e.a.head.N != e.b.head.N || e.a.head.Hash == e.b.head.Hash {
		return errors.New("not one size and two roots")
	}
	e.identify("", e.a.head.text()+e.b.head.text())
	return nil
}

func (e *evidence) parseOpening(lines []string, notes string) error {
	e.kind = "opening"
	root, err := parseHash(strings.TrimPrefix(lines[0], "root "))
	if err != nil || "root "+root.String() != lines[0] {
		return fmt.Errorf("root: %q", lines[0])
	}
	proof, err := proofOf(lines[1:])
	if err != nil {
		return err
	}
	if err := e.parseCheckpoints(notes); err != nil {
		return err
	}
	a, b := e.a.head, e.b.head
	if a.N == 0 || a.N >= b.N || a.Hash == root {
		return errors.New("the opening contradicts nothing")
	}
	if err := tlog.CheckTree(proof, b.N, b.Hash, a.N, root); err != nil {
		return err
	}
	e.identify("", a.text()+b.text())
	return nil
}

func (e *evidence) parseEntry(lines []string, notes string) error {
	if len(lines) != 2 {
		return errors.New("not two lines of leaves")
	}
	halves, err := halve(notes, 3)
	if err != nil {
		return err
	}
	var said [2]*statement
	var leaves [2]tlog.Hash
	var index [2]int64
	for i, half := range halves {
		text, found := strings.CutPrefix(lines[i], "leaf ")
		if leaves[i], err = parseHash(text); err != nil || !found || leaves[i].String() != text {
			return fmt.Errorf("leaf: %q", lines[i])
		}
		if index[i], said[i], err = shownLeaf(half, leaves[i]); err != nil {
			return err
		}
	}
	if err := e.pair(said[0], said[1]); err != nil {
		return err
	}
	if index[0] != index[1] || leaves[0] == leaves[1] {
		return errors.New("not two entries at one index")
	}
	e.identify(" entry", e.a.head.text()+e.b.head.text()+
		fmt.Sprintf("%d %s\n%d %s\n", index[0], leaves[0], index[1], leaves[1]))
	return nil
}

// shownLeaf reads a tlog-proof and verifies that it shows the leaf under its own note.
func shownLeaf(file string, leaf tlog.Hash) (int64, *statement, error) {
	if len(file) > proofBytesMax {
		return 0, nil, errors.New("the proof of an entry is too large")
	}
	head, note, _ := strings.Cut(file, "\n\n")
	lines := strings.Split(head, "\n")
	if lines[0] != tlogProofLine {
		return 0, nil, fmt.Errorf("a proof begins %q", lines[0])
	}
	lines = lines[1:]
	if len(lines) > 0 && strings.HasPrefix(lines[0], "extra ") {
		text := lines[0][len("extra "):]
		extra, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil || len(extra) == 0 || base64.StdEncoding.EncodeToString(extra) != text {
			return 0, nil, errors.New("extra data")
		}
		lines = lines[1:]
	}
	if len(lines) == 0 {
		return 0, nil, errors.New("a proof has no index")
	}
	index, err := fieldDecimal(lines[0], "index")
	if err != nil {
		return 0, nil, err
	}
	hashes, err := proofOf(lines[1:])
	if err != nil {
		return 0, nil, err
	}
	said, err := parseSignedCheckpoint(note)
	if err != nil {
		return 0, nil, err
	}
	if int64(index) >= said.head.N {
		return 0, nil, errors.New("the tree has no such entry")
	}
	err = tlog.CheckRecord(hashes, said.head.N, said.head.Hash, int64(index), leaf)
	return int64(index), said, err
}

func (e *evidence) parseRegress(lines []string, notes string) error {
	if len(lines) != 1 {
		return errors.New("not one line of the accused")
	}
	if err := e.parseAccused(lines[0], 2); err != nil {
		return err
	}
	if err := e.parseCheckpoints(notes); err != nil {
		return err
	}
	later, earlier := e.by.times[0], e.by.times[1]
	if e.a.head.N == e.b.head.N || earlier == 0 || later <= earlier {
		return errors.New("nobody went back")
	}
	if !e.by.signed(e.a, later) || !e.by.signed(e.b, earlier) {
		return errors.New("the accused has no line of that time")
	}
	e.identify(" "+e.kind, e.a.head.text()+e.b.head.text()+e.by.text+"\n")
	return nil
}

func (e *evidence) parseOmission(lines []string, notes string) error {
	if len(lines) < 4 {
		return errors.New("too few lines")
	}
	if err := e.parseAccused(lines[0], 1); err != nil {
		return err
	}
	rowText, found := strings.CutPrefix(lines[1], "row ")
	shown, err := parseRow(rowText)
	if err != nil || !found {
		return fmt.Errorf("row %q: %w", lines[1], err)
	}
	rootText, found := strings.CutPrefix(lines[2], "root ")
	root, err := parseHash(rootText)
	if err != nil || !found || root.String() != rootText {
		return fmt.Errorf("root %q", lines[2])
	}
	index, err := fieldDecimal(lines[3], "index")
	if err != nil {
		return err
	}
	hashes, err := proofOf(lines[4:])
	if err != nil {
		return err
	}
	halves, err := halve(notes, 2)
	if err != nil {
		return err
	}
	if e.a, err = parseGossip(halves[0]); err != nil {
		return err
	}
	if e.b, err = parseSignedCheckpoint(halves[1]); err != nil {
		return err
	}
	e.origin = e.b.head.origin
	if e.a.gossip[0] != pageFormat {
		return errors.New("not a page")
	}
	return e.checkOmission(shown, rowText, root, index, hashes)
}

func (e *evidence) checkOmission(
	shown row, rowText string, root tlog.Hash, index uint64, hashes []tlog.Hash,
) error {
	value := func(line int) string {
		_, v, _ := strings.Cut(e.a.gossip[line], " ")
		return v
	}
	name, salt := value(1), value(7)
	pageTime, _ := strconv.ParseUint(value(6), 10, 64)
	countText, rowsText, _ := strings.Cut(value(8), " ")
	count, _ := strconv.ParseInt(countText, 10, 64)
	rows, _ := parseHash(rowsText)

	originHash := sha256.Sum256([]byte(e.origin))
	saltBytes, _ := hex.DecodeString(salt)
	message := slices.Concat([]byte(tagLabel), saltBytes, originHash[:],
		binary.BigEndian.AppendUint64(nil, shown.size), root[:])
	tag := sha256.Sum256(message)
	at := e.by.times[0]
	switch {
	case !bytes.Equal(shown.origin, originHash[:8]) || !bytes.Equal(shown.tag, tag[:12]):
		return errors.New("the row is of another head")
	case !shown.newest || shown.size >= uint64(e.b.head.N) || at == 0 ||
		at+omissionMin > pageTime || name != e.by.name:
		return errors.New("nothing is hidden")
	case !e.by.signed(e.b, at):
		return errors.New("the accused has no line of that time")
	case index >= uint64(count):
		return errors.New("the page has no such row")
	}
	leaf := tlog.RecordHash([]byte(rowText))
	if err := tlog.CheckRecord(hashes, count, rows, int64(index), leaf); err != nil {
		return err
	}
	e.identify(" "+e.kind, e.a.text+rowText+" "+root.String()+"\n"+
		e.b.head.text()+e.by.text+"\n")
	return nil
}

func (e *evidence) parseEquivocation(lines []string, notes string) error {
	if len(lines) != 0 {
		return errors.New("a line too many")
	}
	halves, err := halve(notes, 2)
	if err != nil {
		return err
	}
	if e.a, err = parseGossip(halves[0]); err != nil {
		return err
	}
	if e.b, err = parseGossip(halves[1]); err != nil {
		return err
	}
	subjectA, claimA := claim(e.a.gossip)
	subjectB, claimB := claim(e.b.gossip)
	if subjectA != subjectB || claimA >= claimB {
		return errors.New("no two claims about one thing, in their order")
	}
	e.identify(" "+e.kind, claimA+claimB)
	return nil
}

// identify makes the id from what is peculiar to the kind.
func (e *evidence) identify(kind, rest string) {
	text := "tlog-fork/v0" + kind + "\n"
	if e.origin != "" {
		text += e.origin + "\n"
	}
	e.id = sha256.Sum256([]byte(text + rest))
}

func (e *evidence) parseCheckpoints(notes string) error {
	halves, err := halve(notes, 2)
	if err != nil {
		return err
	}
	a, err := parseSignedCheckpoint(halves[0])
	if err != nil {
		return err
	}
	b, err := parseSignedCheckpoint(halves[1])
	if err != nil {
		return err
	}
	return e.pair(a, b)
}

// pair is EVI-06.
func (e *evidence) pair(a, b *statement) error {
	e.a, e.b, e.origin = a, b, a.head.origin
	order := cmp.Compare(a.head.N, b.head.N)
	if order == 0 {
		order = bytes.Compare(a.head.Hash[:], b.head.Hash[:])
	}
	if order > 0 || a.head.origin != b.head.origin {
		return errors.New("two logs, or the wrong order")
	}
	return nil
}

func (e *evidence) parseAccused(line string, times int) error {
	text, found := strings.CutPrefix(line, "cosigner ")
	parts := strings.Split(text, " ")
	if !found || len(parts) != 1+times {
		return fmt.Errorf("the accused: %q", line)
	}
	name, id, _ := strings.Cut(parts[0], "+")
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != keyIDBytes || hex.EncodeToString(raw) != id || !isKeyName(name) {
		return fmt.Errorf("the accused: %q", line)
	}
	e.by = accused{name: name, hash: binary.BigEndian.Uint32(raw), text: text}
	for _, part := range parts[1:] {
		t, err := decimal(part)
		if err != nil {
			return err
		}
		e.by.times = append(e.by.times, t)
	}
	return nil
}

// signed says whether a note has a line of the accused with that time, good or not.
func (by accused) signed(s *statement, at uint64) bool {
	return slices.ContainsFunc(s.lines, func(l signatureLine) bool {
		t, ok := l.time()
		return ok && t == at && l.name == by.name && l.hash == by.hash
	})
}

// halve cuts two texts of as many blocks of lines each.
func halve(notes string, blocks int) ([2]string, error) {
	parts := strings.Split(notes, "\n\n")
	if len(parts) != 2*blocks {
		return [2]string{}, fmt.Errorf("%d blocks of lines, not %d", len(parts), 2*blocks)
	}
	first := strings.Join(parts[:blocks], "\n\n") + "\n"
	return [2]string{first, strings.Join(parts[blocks:], "\n\n")}, nil
}

func parseSignedCheckpoint(text string) (*statement, error) {
	s, err := parseNote(text)
	if err != nil {
		return nil, err
	}
	if s.head, err = parseCheckpoint(s.text); err != nil {
		return nil, err
	}
	if strings.Contains(s.text, "\n\n") || strings.HasPrefix(s.text, "\n") {
		return nil, errors.New("a checkpoint has an empty line")
	}
	return s, nil
}

// parseNote is note.md: text, empty line, signature lines.
func parseNote(note string) (*statement, error) {
	at := strings.LastIndex(note, "\n\n")
	if len(note) > noteBytesMax || at < 0 || !strings.HasSuffix(note, "\n") {
		return nil, errors.New("not a signed note")
	}
	for _, c := range []byte(note) {
		if c < ' ' && c != '\n' {
			return nil, errors.New("a control character")
		}
	}
	s := &statement{text: note[:at+1]}
	lines := strings.Split(strings.TrimSuffix(note[at+2:], "\n"), "\n")
	if len(lines) > linesMax {
		return nil, errors.New("too many signature lines")
	}
	for _, line := range lines {
		rest, found := strings.CutPrefix(line, "— ")
		name, text, split := strings.Cut(rest, " ")
		raw, err := base64.StdEncoding.Strict().DecodeString(text)
		if !found || !split || err != nil || len(raw) <= keyIDBytes || !isKeyName(name) ||
			base64.StdEncoding.EncodeToString(raw) != text {
			return nil, fmt.Errorf("signature line %q", line)
		}
		hash, signature := binary.BigEndian.Uint32(raw), raw[keyIDBytes:]
		s.lines = append(s.lines, signatureLine{name, hash, signature})
	}
	return s, nil
}

func isKeyName(name string) bool {
	bad := func(c rune) bool { return c < ' ' || c == '+' || unicode.IsSpace(c) }
	return name != "" && utf8.ValidString(name) && !strings.ContainsFunc(name, bad)
}

var gossipWords = map[string][]string{
	stateFormat: {"name", "epoch", "seq", "time", "rows", "evidence", "nonce"},
	pageFormat:  {"name", "epoch", "seq", "since", "next", "time", "salt", "rows"},
}

// parseGossip is GSP-01 to GSP-05.
func parseGossip(note string) (*statement, error) {
	s, err := parseNote(note)
	if err != nil {
		return nil, err
	}
	if len(s.text) > statementMax {
		return nil, errors.New("a statement is too long")
	}
	s.gossip = strings.Split(strings.TrimSuffix(s.text, "\n"), "\n")
	words := gossipWords[s.gossip[0]]
	short := s.gossip[0] == stateFormat && len(s.gossip) == len(words)
	if words == nil || len(s.gossip) != 1+len(words) && !short {
		return nil, errors.New("not the lines of a statement")
	}
	numbers := map[string]uint64{}
	for i, line := range s.gossip[1:] {
		word, value, _ := strings.Cut(line, " ")
		if word != words[i] {
			return nil, fmt.Errorf("%q where %q is due", line, words[i])
		}
		if err := checkField(word, value, numbers); err != nil {
			return nil, err
		}
	}
	page := s.gossip[0] == pageFormat
	if page && (numbers["since"] > numbers["next"] || numbers["next"] > numbers["seq"]) {
		return nil, errors.New("no part of the feed")
	}
	return s, nil
}

func checkField(word, value string, numbers map[string]uint64) error {
	var err error
	switch word {
	case "name":
		if !isKeyName(value) {
			err = errors.New("no key name")
		}
	case "epoch", "salt", "nonce":
		raw, failed := hex.DecodeString(value)
		if failed != nil || len(raw) != 16 || hex.EncodeToString(raw) != value {
			err = errors.New("not 32 hex digits")
		}
	case "rows", "evidence":
		count, root, _ := strings.Cut(value, " ")
		hash, failed := parseHash(root)
		n, wrong := decimal(count)
		if failed != nil || wrong != nil || hash.String() != root || n == 0 && hash != emptyRoot {
			err = errors.New("no count and root hash")
		}
	default:
		numbers[word], err = decimal(value)
	}
	if err != nil {
		return fmt.Errorf("%s %q: %w", word, value, err)
	}
	return nil
}

// claim is GSP-08 and GSP-09.
func claim(lines []string) (subject, whole string) {
	about, content := 4, []string{"rows", "evidence"}
	if lines[0] == pageFormat {
		about, content = 6, []string{"salt", "rows"}
	}
	subject = strings.Join(lines[:about], "\n") + "\n"
	whole = subject
	for _, line := range lines[about:] {
		if word, _, _ := strings.Cut(line, " "); slices.Contains(content, word) {
			whole += line + "\n"
		}
	}
	return subject, whole
}

type row struct {
	origin []byte
	size   uint64
	tag    []byte
	newest bool
}

// parseRow is GSP-06.
func parseRow(text string) (row, error) {
	parts := strings.SplitN(text, " ", 5)
	if len(parts) != 5 {
		return row{}, errors.New("not five parts")
	}
	origin, err := hex.DecodeString(parts[0])
	if err != nil || len(origin) != 8 || hex.EncodeToString(origin) != parts[0] {
		return row{}, errors.New("origin")
	}
	size, err := decimal(parts[1])
	if err != nil {
		return row{}, err
	}
	tag, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(tag) != 12 || base64.StdEncoding.EncodeToString(tag) != parts[2] {
		return row{}, errors.New("tag")
	}
	if _, err := decimal(parts[3]); err != nil {
		return row{}, err
	}
	if !slices.Contains([]string{"-", "c", "u", "cu"}, parts[4]) {
		return row{}, errors.New("flags")
	}
	return row{origin, size, tag, strings.HasPrefix(parts[4], "c")}, nil
}

func proofOf(lines []string) ([]tlog.Hash, error) {
	if len(lines) > hashesMax {
		return nil, errors.New("too many hashes")
	}
	var hashes []tlog.Hash
	for _, line := range lines {
		hash, err := parseHash(line)
		if err != nil || hash.String() != line {
			return nil, fmt.Errorf("hash %q", line)
		}
		hashes = append(hashes, hash)
	}
	return hashes, nil
}

func fieldDecimal(line, word string) (uint64, error) {
	value, found := strings.CutPrefix(line, word+" ")
	if !found {
		return 0, fmt.Errorf("%q where %q is due", line, word)
	}
	return decimal(value)
}

func decimal(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || strconv.FormatUint(n, 10) != text {
		return 0, fmt.Errorf("number %q", text)
	}
	return n, nil
}

// checkSignature verifies one line under a text.
func (k *knownKey) checkSignature(text string, line signatureLine) bool {
	switch k.kind {
	case typeEd25519:
		return len(line.signature) == ed25519.SignatureSize &&
			ed25519.Verify(k.publicKey, []byte(text), line.signature)
	case typeCosignatureV1:
		at, ok := line.time()
		if !ok || len(line.signature) != timestampBytes+ed25519.SignatureSize {
			return false
		}
		message := cosignedMessage(at, []byte(text))
		return ed25519.Verify(k.publicKey, message, line.signature[timestampBytes:])
	}
	return false
}
