package timestamps

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/digitorus/timestamp"
	"github.com/fxamacker/cbor/v2"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/veraison/go-cose"
)

// The header parameters of RFC 9942, and those of ours.
const (
	labelVDS   = int64(395)
	labelVDP   = int64(396)
	labelSize  = int64(-1596183406)
	labelNote  = int64(-1596183407)
	labelEntry = int64(-1596183408)
	inclusions = int64(-1)
)

// inclusion is a proof as RFC 9942, 5.2 has it.
type inclusion struct {
	_     struct{} `cbor:",toarray"`
	Size  uint64
	Index uint64
	Path  [][]byte
}

// receiptParts are those parts of a COSE receipt that its signature covers, as it carries them.
type receiptParts struct {
	message   cose.Sign1Message
	inclusion []byte
	entry     []byte
	note      []byte
	proof     inclusion
}

func parseReceipt(receipt []byte) (*receiptParts, error) {
	parts := &receiptParts{}
	if err := parts.message.UnmarshalCBOR(receipt); err != nil {
		return nil, err
	}
	headers := parts.message.Headers
	if headers.Protected[labelVDS] != int64(1) || parts.message.Payload != nil {
		return nil, errors.New("no detached receipt of a tree RFC9162_SHA256")
	}
	proofs, _ := headers.Unprotected[labelVDP].(map[any]any)
	list, _ := proofs[inclusions].([]any)
	if len(list) != 1 {
		return nil, fmt.Errorf("%d proofs of inclusion", len(list))
	}
	parts.inclusion, _ = list[0].([]byte)
	parts.entry, _ = headers.Unprotected[labelEntry].([]byte)
	parts.note, _ = headers.Unprotected[labelNote].([]byte)
	return parts, cbor.Unmarshal(parts.inclusion, &parts.proof)
}

// verifyReceipt does what RFC 9942, 5.2 says with nothing of ours: the root is computed from the
// entry, and the log's signature is over it. That the size is the signed one is ours.
func verifyReceipt(receipt []byte, key ed25519.PublicKey) (*receiptParts, error) {
	parts, err := parseReceipt(receipt)
	if err != nil {
		return nil, err
	}
	if signed := parts.message.Headers.Protected[labelSize]; signed != int64(parts.proof.Size) {
		return nil, fmt.Errorf("a proof in a tree of %d, and %v is signed", parts.proof.Size, signed)
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(parts.entry)
	root, err := proof.RootFromInclusionProof(rfc6962.DefaultHasher,
		parts.proof.Index, parts.proof.Size, leaf, parts.proof.Path)
	if err != nil {
		return nil, err
	}
	verifier, err := cose.NewVerifier(cose.AlgorithmEdDSA, key)
	if err != nil {
		return nil, err
	}
	parts.message.Payload = root
	return parts, parts.message.Verify(nil, verifier)
}

func TestGoCOSEVerifiesReceipts(t *testing.T) {
	t.Parallel()
	s := startService(t)
	key := s.noteKey(t)
	// Some time-stamps, so that the path is longer than one hash; the last of them is upgraded.
	upgrading := s.openUpgrading(t)
	var answer []byte
	for n := range 6 {
		digest := sha256.Sum256(fmt.Appendf(nil, "document %d", n))
		request := timestamp.Request{
			HashAlgorithm: crypto.SHA256, HashedMessage: digest[:], Certificates: true,
		}
		url := s.url + "/timestamp"
		if n == 5 {
			url = upgrading.URL + "/timestamp"
		}
		answer = ask(t, url, marshal(t, &request))
	}
	dir := t.TempDir()
	token := write(t, dir, "document.tsr", answer)
	exported := filepath.Join(dir, "document.cose")
	mustRun(t, installed(t, "jurat"), "export", token, "--as", "cose-receipt", "-o", exported)

	for name, receipt := range map[string][]byte{
		"served":   s.coseReceipt(t, 3),
		"exported": read(t, exported),
	} {
		t.Run(name, func(t *testing.T) {
			parts, err := verifyReceipt(receipt, key)
			if err != nil {
				t.Fatal(err)
			}
			// What the witnesses cosigned is the tree of which the log signed the root.
			root := base64.StdEncoding.EncodeToString(parts.message.Payload)
			head := fmt.Sprintf("%s\n%d\n%s\n", serviceOrigin, parts.proof.Size, root)
			if !strings.HasPrefix(string(parts.note), head) {
				t.Errorf("the note is of another tree than %q:\n%s", head, parts.note)
			}
			if len(parts.proof.Path) < 2 {
				t.Errorf("a path of %d is no test of paths", len(parts.proof.Path))
			}
			said := mustRun(t, installed(t, "jurat"), "verify", write(t, dir, name, receipt),
				"--policy", s.policy, "--require", "witnessed")
			mustSay(t, said, "good. Logged and witnessed by 1 of ", "root and tree size are signed")
			mutated(t, receipt, parts, func(changed []byte) error {
				_, err := verifyReceipt(changed, key)
				return err
			})
		})
	}
	// Another key has not signed it.
	stranger, _, _ := ed25519.GenerateKey(rand.Reader)
	if _, err := verifyReceipt(read(t, exported), stranger); !errors.Is(err, cose.ErrVerification) {
		t.Errorf("another key: %v", err)
	}
}

// mutated changes each byte of what the signature covers, one after the other.
func mutated(t *testing.T, receipt []byte, parts *receiptParts, verify func([]byte) error) {
	t.Helper()
	protected, err := parts.message.Headers.Protected.MarshalCBOR()
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, part := range [][]byte{protected, parts.inclusion, parts.entry, parts.message.Signature} {
		start := bytes.Index(receipt, part)
		if start < 0 {
			t.Fatalf("%x is not in the receipt", part)
		}
		for at := range part {
			changed := bytes.Clone(receipt)
			changed[start+at] ^= 1
			tried++
			if verify(changed) == nil {
				t.Errorf("byte %d changed, and it is good still", start+at)
			}
		}
	}
	if tried < 200 {
		t.Errorf("only %d changes were tried", tried)
	}
}

// noteKey is the log's Ed25519 key, as its users are told it.
func (s *service) noteKey(t *testing.T) ed25519.PublicKey {
	t.Helper()
	for line := range strings.Lines(string(read(t, s.policy))) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "log" {
			continue
		}
		_, material, _ := strings.Cut(strings.TrimPrefix(fields[1], serviceOrigin+"+"), "+")
		if key, err := base64.StdEncoding.DecodeString(material); err == nil && key[0] == 1 {
			return key[1:]
		}
	}
	t.Fatalf("no Ed25519 key of the log in %s", s.policy)
	return nil
}

func (s *service) coseReceipt(t *testing.T, index int) []byte {
	t.Helper()
	answer, err := http.Get(fmt.Sprintf("%s/receipt/%d.cose?wait=20", s.url, index))
	if err != nil {
		t.Fatal(err)
	}
	receipt := body(t, answer)
	if found := answer.Header.Get("Content-Type"); !strings.HasPrefix(found, "application/cose") {
		t.Fatalf("a receipt of type %q", found)
	}
	return receipt
}

// What other logs give, made with nothing of ours, in both algorithms.
func TestReceiptsThatGoCOSEMakesAreVerified(t *testing.T) {
	t.Parallel()
	const name, size, index = "other.example/log", 5, 3
	leaves := make([][]byte, size)
	for n := range leaves {
		leaves[n] = rfc6962.DefaultHasher.HashLeaf(fmt.Appendf(nil, "entry %d", n))
	}
	node := rfc6962.DefaultHasher.HashChildren
	first := node(leaves[0], leaves[1])
	root := node(node(first, node(leaves[2], leaves[3])), leaves[4])
	path, err := cbor.Marshal(inclusion{
		Size: size, Index: index, Path: [][]byte{leaves[2], first, leaves[4]},
	})
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&p256.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	entry := write(t, dir, "entry", []byte("entry 3"))
	other := write(t, dir, "other", []byte("entry 2"))
	for _, log := range []struct {
		algorithm cose.Algorithm
		signer    crypto.Signer
		hashed    []byte
		material  []byte
	}{
		{
			cose.AlgorithmEdDSA, private, append([]byte(name+"\n\x01"), public...),
			append([]byte{1}, public...),
		},
		{cose.AlgorithmES256, p256, spki, append([]byte{2}, spki...)},
	} {
		signer, err := cose.NewSigner(log.algorithm, log.signer)
		if err != nil {
			t.Fatal(err)
		}
		message := cose.NewSign1Message()
		message.Headers.Protected.SetAlgorithm(log.algorithm)
		message.Headers.Protected[labelVDS] = int64(1)
		message.Headers.Unprotected[labelVDP] = map[any]any{inclusions: []any{path}}
		message.Payload = root
		if err := message.Sign(rand.Reader, nil, signer); err != nil {
			t.Fatal(err)
		}
		message.Payload = nil
		receipt, err := message.MarshalCBOR()
		if err != nil {
			t.Fatal(err)
		}
		id := sha256.Sum256(log.hashed)
		policy := fmt.Sprintf("log %s+%s+%s\nquorum none\n", name, hex.EncodeToString(id[:4]),
			base64.StdEncoding.EncodeToString(log.material))
		verify := []string{
			"verify", write(t, dir, log.algorithm.String()+".cose", receipt),
			"--policy", write(t, dir, log.algorithm.String()+".policy", []byte(policy)), "--data",
		}
		jurat := installed(t, "jurat")
		said := mustRun(t, jurat, append(verify, entry)...)
		mustSay(t, said, "good. Logged, and witnessed by nobody", "entry 3 of log "+name,
			"Not proven: the tree size")
		mustFail(t, []string{"NOT GOOD"}, jurat, append(verify, other)...)
		mustFail(t, []string{"What is required is: witnessed"}, jurat,
			append(verify, entry, "--require", "witnessed")...)
	}
}
