package timestamps

import (
	"bytes"
	"crypto"
	_ "crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	"github.com/digitorus/timestamp"
)

func TestDigitorusParsesAndVerifiesTokens(t *testing.T) {
	t.Parallel()
	s := startService(t)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(read(t, s.root)) {
		t.Fatalf("no certificate in %s", s.root)
	}
	digest := sha256.Sum256(read(t, document(t)))
	s.bothKinds(t, func(t *testing.T, url string) {
		request := timestamp.Request{
			HashAlgorithm: crypto.SHA256, HashedMessage: digest[:], Certificates: true,
			Nonce: new(big.Int).Lsh(big.NewInt(1), 255),
		}
		token, err := timestamp.ParseResponse(ask(t, url, marshal(t, &request)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(token.HashedMessage, digest[:]) || token.Nonce.Cmp(request.Nonce) != 0 ||
			len(token.Certificates) == 0 {
			t.Fatalf("not what was asked for: %+v", token)
		}
		options := x509.VerifyOptions{
			Roots: roots, CurrentTime: token.Time,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping},
		}
		if _, err := token.Certificates[0].Verify(options); err != nil {
			t.Error(err)
		}
		unit, _ := pem.Decode(read(t, s.unit))
		if !bytes.Equal(token.Certificates[0].Raw, unit.Bytes) {
			t.Error("another signer than the chain names")
		}
	})
}

func TestDigitorusShowsWhyARequestIsRejected(t *testing.T) {
	t.Parallel()
	s := startService(t)
	for words, request := range map[string]*timestamp.Request{
		timestamp.BadAlgorithm.String(): {
			HashAlgorithm: crypto.SHA1, HashedMessage: make([]byte, 20),
		},
		timestamp.UnacceptedPolicy.String(): {
			HashAlgorithm: crypto.SHA256, HashedMessage: make([]byte, 32),
			TSAPolicyOID: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 7},
		},
	} {
		token, err := timestamp.ParseResponse(ask(t, s.url+"/timestamp", marshal(t, request)))
		if err == nil {
			t.Fatalf("a token: %+v", token)
		}
		mustSay(t, err.Error(), timestamp.Rejection.String()+": ", words)
		if reason, _, _ := strings.Cut(err.Error(), " ("+words); strings.HasSuffix(reason, ": ") {
			t.Errorf("there is no reason: %v", err)
		}
	}
}

func marshal(t *testing.T, request *timestamp.Request) []byte {
	t.Helper()
	der, err := request.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return der
}
