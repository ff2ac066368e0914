package timestamps

import (
	"os"
	"path/filepath"
	"testing"
)

// What an unknown policy is called here: an example's arc.
const unknownPolicy = "1.3.6.1.4.1.99999.7"

func TestOpenSSLTakesTokensByEachOfItsWays(t *testing.T) {
	t.Parallel()
	s := startService(t)
	mustSay(t, openssl(t, "verify", "-CAfile", s.root, "-purpose", "timestampsign", s.unit), "OK")
	s.bothKinds(t, func(t *testing.T, url string) {
		data := document(t)
		for _, hash := range []string{"-sha256", "-sha384", "-sha512", "-sha3-256"} {
			reply := opensslAsk(t, url, data, hash, "-cert")
			opensslVerify(t, s, reply)
			mustSay(t, openssl(t, "ts", "-verify", "-data", data, "-in", reply, "-CAfile", s.root),
				"Verification: OK")
		}
		t.Run("without the certificate", func(t *testing.T) {
			opensslVerify(t, s, opensslAsk(t, url, data, "-sha256"), "-untrusted", s.unit)
		})
		t.Run("cms", func(t *testing.T) {
			reply := opensslAsk(t, url, data, "-sha256", "-cert")
			token, info := reply+".token", reply+".info"
			openssl(t, "ts", "-reply", "-in", reply, "-token_out", "-out", token)
			mustSay(t, openssl(t, "cms", "-verify", "-inform", "DER", "-in", token,
				"-CAfile", s.root, "-purpose", "timestampsign", "-out", info),
				"CMS Verification successful")
		})
		t.Run("other data", func(t *testing.T) {
			reply := opensslAsk(t, url, data, "-sha256", "-cert")
			other := write(t, t.TempDir(), "other", []byte("What was not there.\n"))
			mustFail(t, []string{"message imprint mismatch"}, onPath(t, "openssl"),
				"ts", "-verify", "-data", other, "-in", reply, "-CAfile", s.root)
		})
	})
}

// Each path that clients know takes requests.
func TestOpenSSLTakesTokensOfEachPath(t *testing.T) {
	t.Parallel()
	s := startService(t)
	for _, path := range []string{"", "/", "/tsa", "/timestamp", "/api/v1/timestamp"} {
		opensslVerify(t, s, opensslAsk(t, s.url+path, document(t), "-sha256", "-cert"))
	}
}

func TestOpenSSLTakesAnUpgradedTokenLikeThePlainOne(t *testing.T) {
	t.Parallel()
	s := startService(t)
	reply := opensslAsk(t, s.url+"/timestamp", document(t), "-sha256", "-cert")
	shown := openssl(t, "ts", "-reply", "-in", reply, "-text")
	plain := read(t, reply)
	upgraded := s.upgrade(t, plain)
	if len(upgraded) <= len(plain) {
		t.Fatalf("upgraded, %d octets became %d", len(plain), len(upgraded))
	}
	if err := os.WriteFile(reply, upgraded, 0o600); err != nil {
		t.Fatal(err)
	}
	opensslVerify(t, s, reply)
	if again := openssl(t, "ts", "-reply", "-in", reply, "-text"); again != shown {
		t.Errorf("upgraded, OpenSSL shows\n%s\nand before\n%s", again, shown)
	}
}

func TestOpenSSLShowsWhyARequestIsRejected(t *testing.T) {
	t.Parallel()
	s := startService(t)
	for _, refused := range []struct {
		args []string
		info string
	}{
		{[]string{"-sha1"}, "unrecognized or unsupported algorithm identifier"},
		{
			[]string{"-sha256", "-tspolicy", unknownPolicy},
			"the requested TSA policy is not supported by the TSA",
		},
	} {
		reply := opensslAsk(t, s.url+"/timestamp", document(t), refused.args...)
		said := openssl(t, "ts", "-reply", "-in", reply, "-text")
		mustSay(t, said, "Status: Rejected.", "Failure info: "+refused.info)
		mustNotSay(t, said, "Status description: unspecified")
		mustFail(t, []string{"Verification: FAILED"}, onPath(t, "openssl"), "ts", "-verify",
			"-queryfile", queryOf(reply), "-in", reply, "-CAfile", s.root)
	}
}

func openssl(t *testing.T, args ...string) string {
	t.Helper()
	return mustRun(t, onPath(t, "openssl"), args...)
}

// opensslAsk makes a request, has it answered, and returns the file of the answer; the request
// lies beside it.
func opensslAsk(t *testing.T, url, data string, args ...string) string {
	t.Helper()
	reply := filepath.Join(t.TempDir(), "reply.tsr")
	openssl(t, append([]string{"ts", "-query", "-data", data, "-out", queryOf(reply)}, args...)...)
	if err := os.WriteFile(reply, ask(t, url, read(t, queryOf(reply))), 0o600); err != nil {
		t.Fatal(err)
	}
	return reply
}

func queryOf(reply string) string { return reply + ".tsq" }

func opensslVerify(t *testing.T, s *service, reply string, args ...string) {
	t.Helper()
	said := openssl(t, append([]string{
		"ts", "-verify", "-queryfile", queryOf(reply), "-in", reply, "-CAfile", s.root,
	}, args...)...)
	mustSay(t, said, "Verification: OK")
}
