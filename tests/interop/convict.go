package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

const typeEd25519 = 0x01

// knownKey is a key that may be convicted. ML-DSA-44 is not verified here: lines of such keys are
// lines of keys that are not known.
type knownKey struct {
	vkey      string
	name      string
	hash      uint32
	kind      byte
	publicKey ed25519.PublicKey
}

func parseKnownKey(vkey string) (*knownKey, error) {
	name, rest, _ := strings.Cut(vkey, "+")
	id, key64, _ := strings.Cut(rest, "+")
	idBytes, err := hex.DecodeString(id)
	raw, failed := base64.StdEncoding.Strict().DecodeString(key64)
	if err != nil || failed != nil || len(idBytes) != keyIDBytes ||
		len(raw) != 1+ed25519.PublicKeySize {
		return nil, fmt.Errorf("verifier key %q", vkey)
	}
	k := &knownKey{vkey, name, binary.BigEndian.Uint32(idBytes), raw[0], raw[1:]}
	switch k.kind {
	case typeEd25519:
		// The library checks that name, id and key belong together.
		_, err = note.NewVerifier(vkey)
	case typeCosignatureV1:
		_, err = parseCosigner(vkey)
	default:
		err = fmt.Errorf("verifier key %q: type %#x", vkey, k.kind)
	}
	return k, err
}

// knownKeys are keys by what they may be convicted of.
type knownKeys struct {
	origin string

	current, retired, cosigners, gossip                    []*knownKey
	currentVKeys, retiredVKeys, cosignerVKeys, gossipVKeys repeated
	// The cosigner keys of the witness that a gossip key is of, by the vkey of the latter.
	tied map[string][]*knownKey
}

func (k *knownKeys) resolve() error {
	for _, of := range []struct {
		vkeys repeated
		keys  *[]*knownKey
	}{{k.currentVKeys, &k.current}, {k.retiredVKeys, &k.retired}, {k.cosignerVKeys, &k.cosigners},
		{k.gossipVKeys, &k.gossip}} {
		for _, vkey := range of.vkeys {
			first, rest, _ := strings.Cut(vkey, " ")
			key, err := parseKnownKey(first)
			if err != nil {
				return err
			}
			*of.keys = append(*of.keys, key)
			for _, vkey := range strings.Fields(rest) {
				cosigner, err := parseKnownKey(vkey)
				if err != nil {
					return err
				}
				k.tied[first] = append(k.tied[first], cosigner)
			}
		}
	}
	return nil
}

// trial is what was found so far; see EVI-42 to EVI-45, EVI-54.
type trial struct {
	failed []failure
	long   bool
	guilty []string
	log    string
}

// failure is a line that failed for a key: it is not tried, and does not count, twice.
type failure struct {
	vkey string
	s    *statement
	line int
}

// verify says who is convicted: "log", what of the log, then role and key of each.
func (k *knownKeys) verify(e *evidence) (string, error) {
	t := &trial{log: "none", long: len(e.a.text) > longTextBytes}
	if e.b != nil {
		t.long = t.long || len(e.b.text) > longTextBytes
	}
	switch e.kind {
	case "same-size", "opening", "entry":
		t.histories(e, k)
	case "empty":
		for _, key := range k.logs(e.origin) {
			if t.good(key, e.a, nil) {
				t.convict("log", key)
				t.found(key, k)
			}
		}
	case "cosigner-regress":
		for _, key := range k.cosigners {
			if key.name == e.by.name && key.hash == e.by.hash &&
				t.good(key, e.a, &e.by.times[0]) && t.good(key, e.b, &e.by.times[1]) {
				t.convict("cosigner", key)
			}
		}
	case "omission":
		t.omission(e, k)
	case "gossip-equivocation":
		for _, key := range k.speakers(e.a) {
			if hasLine(e.b, key) && t.good(key, e.a, nil) && t.good(key, e.b, nil) {
				t.convict("gossip", key)
			}
		}
	}
	if len(t.guilty) == 0 && t.log == "none" {
		return "", errors.New("nobody who is known signed both")
	}
	slices.Sort(t.guilty)
	return strings.Join(append([]string{e.kind, hex.EncodeToString(e.id[:]), t.log},
		t.guilty...), " "), nil
}

func (k *knownKeys) logs(origin string) []*knownKey {
	if origin != k.origin {
		return nil
	}
	return slices.Concat(k.current, k.retired)
}

func (k *knownKeys) speakers(s *statement) []*knownKey {
	_, name, _ := strings.Cut(s.gossip[1], " ")
	return slices.DeleteFunc(slices.Clone(k.gossip), func(key *knownKey) bool {
		return key.name != name || !hasLine(s, key)
	})
}

func (t *trial) histories(e *evidence, k *knownKeys) {
	try := func(role string, key *knownKey) {
		// One key may be the log's and a cosigner's, and is convicted once.
		if slices.Contains(t.guilty, "log:"+key.vkey) {
			return
		}
		if hasLine(e.a, key) && hasLine(e.b, key) &&
			t.good(key, e.a, nil) && t.good(key, e.b, nil) {
			t.convict(role, key)
		}
	}
	retired := false
	for _, key := range k.logs(e.origin) {
		before := len(t.guilty)
		try("log", key)
		if len(t.guilty) > before {
			t.found(key, k)
			retired = retired || slices.Contains(k.retired, key)
		}
	}
	// The log is done with before its cosigners: see EVI-45.
	if t.log != "guilty" {
		t.across(e, k)
	}
	if retired && t.log == "undetermined" {
		t.log = "retired"
	}
	for _, key := range k.cosigners {
		try("cosigner", key)
	}
}

// found says what a key that signed both says of its log: EVI-43.
func (t *trial) found(key *knownKey, k *knownKeys) {
	switch {
	case !slices.Contains(k.retired, key):
		t.log = "guilty"
	case t.log == "none":
		t.log = "retired"
	}
}

// across is EVI-43.
func (t *trial) across(e *evidence, k *knownKeys) {
	first := func(s *statement) *knownKey {
		for _, key := range k.logs(e.origin) {
			if t.good(key, s, nil) {
				return key
			}
		}
		return nil
	}
	a := first(e.a)
	if a == nil {
		return
	}
	b := first(e.b)
	switch {
	case b == nil:
	case slices.Contains(k.retired, a) || slices.Contains(k.retired, b):
		t.log = "undetermined"
	default:
		t.log = "across"
	}
}

func (t *trial) omission(e *evidence, k *knownKeys) {
	for _, key := range k.speakers(e.a) {
		tied := k.tied[key.vkey]
		at := slices.IndexFunc(tied, func(key *knownKey) bool {
			return key.name == e.by.name && key.hash == e.by.hash
		})
		if at >= 0 && t.good(key, e.a, nil) && t.good(tied[at], e.b, &e.by.times[0]) {
			t.convict("gossip", key)
		}
	}
}

func (t *trial) convict(role string, key *knownKey) {
	t.guilty = append(t.guilty, role+":"+key.vkey)
}

func hasLine(s *statement, key *knownKey) bool {
	return slices.ContainsFunc(s.lines, key.matches)
}

func (k *knownKey) matches(l signatureLine) bool { return l.name == k.name && l.hash == k.hash }

// good finds a good line of a key, of a time if one is wanted.
func (t *trial) good(key *knownKey, s *statement, at *uint64) bool {
	for place, line := range s.lines {
		if !key.matches(line) {
			continue
		}
		if stated, ok := line.time(); at != nil && (!ok || stated != *at) {
			continue
		}
		this := failure{key.vkey, s, place}
		if slices.Contains(t.failed, this) {
			continue
		}
		if len(t.failed) >= failedLinesMax || t.long && len(t.failed) > 0 {
			return false
		}
		if key.checkSignature(s.text, line) {
			return true
		}
		t.failed = append(t.failed, this)
	}
	return false
}

// judge is the answer for one file, on one line.
func (k *knownKeys) judge(file []byte) string {
	e, err := parseEvidence(file)
	if err != nil {
		return fmt.Sprintf("refused: %q", err)
	}
	verdict, err := k.verify(e)
	if err != nil {
		return fmt.Sprintf("refused: %q", err)
	}
	return verdict
}

// evidenceCommand judges the files that are named, or, when none is, those on standard input: each
// a line with its length, then its bytes.
func evidenceCommand(args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("interop evidence", flag.ContinueOnError)
	flags.SetOutput(stderr)
	keys := &knownKeys{tied: map[string][]*knownKey{}}
	flags.StringVar(&keys.origin, "origin", "", "the log that the log keys are of")
	flags.Var(&keys.currentVKeys, "log-vkey", "a key that the log signs with (repeatable)")
	flags.Var(&keys.retiredVKeys, "retired-vkey", "a key that the log signed with (repeatable)")
	flags.Var(&keys.cosignerVKeys, "cosigner-vkey", "a witness's key (repeatable)")
	flags.Var(&keys.gossipVKeys, "gossip-vkey",
		"a witness's gossip key, and after spaces its cosigner keys (repeatable)")
	if err := flags.Parse(args); err != nil {
		return usageError{err.Error()}
	}
	if err := keys.resolve(); err != nil {
		return usageError{err.Error()}
	}
	for _, path := range flags.Args() {
		file, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s: %s\n", path, keys.judge(file))
	}
	if flags.NArg() > 0 {
		return nil
	}
	in, out := bufio.NewReader(stdin), bufio.NewWriter(stdout)
	for {
		var length int
		if _, err := fmt.Fscanf(in, "%d\n", &length); errors.Is(err, io.EOF) {
			return out.Flush()
		} else if err != nil || length < 0 || length > 2*fileBytesMax {
			return fmt.Errorf("a length on standard input: %d, %w", length, err)
		}
		var file bytes.Buffer
		if _, err := io.CopyN(&file, in, int64(length)); err != nil {
			return err
		}
		fmt.Fprintln(out, keys.judge(file.Bytes()))
	}
}
