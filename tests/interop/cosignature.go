package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Signature types of c2sp.org/signed-note.
const (
	typeCosignatureV1 = 0x04
	typeMLDSA44       = 0x06
)

const (
	keyIDBytes            = 4
	timestampBytes        = 8
	mlDSA44PublicKeyBytes = 1312
	mlDSA44SignatureBytes = 2420
)

// cosigner is a key whose signatures are timestamped: c2sp.org/tlog-cosignature. Of type 0x04 it is
// a note.Verifier; of type 0x06 only names, key ids and lengths can be checked, since neither Go's
// standard library nor x/mod verifies ML-DSA-44.
type cosigner struct {
	name      string
	keyHash   uint32
	kind      byte
	publicKey []byte
}

func parseCosigner(vkey string) (*cosigner, error) {
	name, rest, _ := strings.Cut(vkey, "+")
	id, key64, _ := strings.Cut(rest, "+")
	idBytes, err := hex.DecodeString(id)
	if err != nil || len(idBytes) != keyIDBytes {
		return nil, fmt.Errorf("verifier key %q: key id %q", vkey, id)
	}
	key, err := base64.StdEncoding.Strict().DecodeString(key64)
	if err != nil || len(key) < 1 {
		return nil, fmt.Errorf("verifier key %q: public key %q", vkey, key64)
	}
	c := &cosigner{
		name:      name,
		keyHash:   binary.BigEndian.Uint32(idBytes),
		kind:      key[0],
		publicKey: key[1:],
	}
	wantLength := map[byte]int{
		typeCosignatureV1: ed25519.PublicKeySize,
		typeMLDSA44:       mlDSA44PublicKeyBytes,
	}[c.kind]
	if wantLength == 0 || len(c.publicKey) != wantLength {
		return nil, fmt.Errorf("verifier key %q: type %#x with %d bytes is no cosigner's",
			vkey, c.kind, len(c.publicKey))
	}
	if want := sha256.Sum256(append([]byte(name+"\n"), key...)); !bytes.Equal(want[:4], idBytes) {
		return nil, fmt.Errorf("verifier key %q: its key id should be %x", vkey, want[:4])
	}
	return c, nil
}

func parseCosigners(vkeys []string) ([]*cosigner, error) {
	cosigners := make([]*cosigner, 0, len(vkeys))
	for _, vkey := range vkeys {
		c, err := parseCosigner(vkey)
		if err != nil {
			return nil, err
		}
		cosigners = append(cosigners, c)
	}
	return cosigners, nil
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.keyHash }

// Verify reports whether sig is this key's timestamped Ed25519 cosignature of the checkpoint msg.
func (c *cosigner) Verify(msg, sig []byte) bool {
	if c.kind != typeCosignatureV1 || len(sig) != timestampBytes+ed25519.SignatureSize {
		return false
	}
	time := binary.BigEndian.Uint64(sig)
	if time == 0 || time > math.MaxInt64 {
		return false
	}
	return ed25519.Verify(c.publicKey, cosignedMessage(time, msg), sig[timestampBytes:])
}

func cosignedMessage(time uint64, text []byte) []byte {
	return append(fmt.Appendf(nil, "cosignature/v1\ntime %d\n", time), text...)
}

// timestamped is one cosignature line, its parts told apart but nothing verified.
type timestamped struct {
	time      uint64
	signature []byte
}

func (c *cosigner) parse(sig note.Signature) (timestamped, error) {
	raw, err := base64.StdEncoding.DecodeString(sig.Base64)
	if err != nil || len(raw) < keyIDBytes+timestampBytes {
		return timestamped{}, fmt.Errorf("cosignature of %s is too short", sig.Name)
	}
	t := timestamped{
		time:      binary.BigEndian.Uint64(raw[keyIDBytes:]),
		signature: raw[keyIDBytes+timestampBytes:],
	}
	wantLength := ed25519.SignatureSize
	if c.kind == typeMLDSA44 {
		wantLength = mlDSA44SignatureBytes
	}
	if len(t.signature) != wantLength || t.time == 0 || t.time > math.MaxInt64 {
		return timestamped{}, fmt.Errorf("cosignature of %s: %d bytes at time %d",
			sig.Name, len(t.signature), t.time)
	}
	return t, nil
}

// verifiersOf lists those keys that note.Open can use.
func verifiersOf(cosigners []*cosigner) []note.Verifier {
	var list []note.Verifier
	for _, c := range cosigners {
		if c.kind == typeCosignatureV1 {
			list = append(list, c)
		}
	}
	return list
}

// find returns the key that a signature line says it is by.
func find(cosigners []*cosigner, sig note.Signature) *cosigner {
	for _, c := range cosigners {
		if c.name == sig.Name && c.keyHash == sig.Hash {
			return c
		}
	}
	return nil
}
