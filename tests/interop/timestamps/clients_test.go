package timestamps

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// client is the path of one of the small programs that call a client's library.
func client(name string) string { return filepath.Join("clients", name) }

func python(t *testing.T, name string, args ...string) []string {
	t.Helper()
	return append([]string{installed(t, "python/bin/python"), client(name)}, args...)
}

func TestRFC3161ClientVerifiesTokensAndShowsARejection(t *testing.T) {
	t.Parallel()
	s := startService(t)
	data := document(t)
	s.bothKinds(t, func(t *testing.T, url string) {
		stamp := python(t, "with_rfc3161_client.py", "stamp", url, s.root, data)
		said := mustRun(t, stamp[0], stamp[1:]...)
		if strings.Count(said, "good: ") != 2 {
			t.Errorf("not both hash algorithms:\n%s", said)
		}
	})
	// It has no words for what is refused, and so another's request is sent.
	query := filepath.Join(t.TempDir(), "query.tsq")
	openssl(t, "ts", "-query", "-data", data, "-sha1", "-out", query)
	refused := python(t, "with_rfc3161_client.py", "refused", s.url+"/timestamp", query)
	said := mustRun(t, refused[0], refused[1:]...)
	mustSay(t, said, "REJECTION: ")
	if len(strings.TrimSpace(said)) <= len("REJECTION: ") {
		t.Errorf("there is no reason: %s", said)
	}
}

func TestPyHankoStampsAndValidatesADocument(t *testing.T) {
	t.Parallel()
	s := startService(t)
	document := write(t, t.TempDir(), "document.pdf", smallPDF())
	// What the receipt's identifier begins with.
	unsigned := map[string]string{
		"plain": "unsigned []", "upgraded": "unsigned ['1.2.840.113556.1.8000.2554.",
	}
	s.bothKinds(t, func(t *testing.T, url string) {
		stamp := python(t, "with_pyhanko.py", "stamp", url, s.root, document)
		said := mustRun(t, stamp[0], stamp[1:]...)
		mustSay(t, said, "good: ", unsigned[filepath.Base(t.Name())])
	})
	// Its parser wants a token in every answer, and so its users see that there is none, not why.
	refused := python(t, "with_pyhanko.py", "refused", s.url+"/timestamp")
	mustFail(t, []string{"time_stamp_token"}, refused[0], refused[1:]...)
}

// smallPDF is a page with nothing on it.
func smallPDF() []byte {
	objects := []string{
		"<< /Type /Catalog /Pages 2 0 R >>",
		"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
		"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Resources << >> >>",
	}
	var pdf bytes.Buffer
	pdf.WriteString("%PDF-1.7\n")
	var offsets []int
	for place, object := range objects {
		offsets = append(offsets, pdf.Len())
		fmt.Fprintf(&pdf, "%d 0 obj\n%s\nendobj\n", place+1, object)
	}
	table := pdf.Len()
	fmt.Fprintf(&pdf, "xref\n0 %d\n%010d 65535 f \n", len(objects)+1, 0)
	for _, offset := range offsets {
		fmt.Fprintf(&pdf, "%010d 00000 n \n", offset)
	}
	fmt.Fprintf(&pdf, "trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n",
		len(objects)+1, table)
	return pdf.Bytes()
}

func TestSigstoreVerifiesTokensThatItAskedForInJSON(t *testing.T) {
	t.Parallel()
	s := startService(t)
	data := document(t)
	sigstore := func(args ...string) []string {
		modules := "NODE_PATH=" + installed(t, "node_modules")
		return append([]string{modules, onPath(t, "node"), client("with_sigstore.cjs")}, args...)
	}
	s.bothKinds(t, func(t *testing.T, url string) {
		base := strings.TrimSuffix(url, "/timestamp")
		said := mustRun(t, onPath(t, "env"), sigstore("stamp", base, s.unit, data)...)
		if strings.Count(said, "good: status 0 at ") != 2 {
			t.Errorf("not with and without the certificate:\n%s", said)
		}
	})
	// It knows the status, and has no words for the rest.
	mustFail(t, []string{"status 2", "timeStampToken is missing"}, onPath(t, "env"),
		sigstore("refused", s.url, data, unknownPolicy)...)
}

// quickJava is for programs that end before the better compiler would have paid.
var quickJava = []string{"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"}

func TestBouncyCastleValidatesTokensAndShowsRejections(t *testing.T) {
	t.Parallel()
	s := startService(t)
	data := document(t)
	bouncyCastle := func(args ...string) []string {
		const jars = "/usr/share/java/"
		path := jars + "bcpkix.jar:" + jars + "bcprov.jar:" + jars + "bcutil.jar"
		program := []string{"-cp", path, client("BouncyCastle.java")}
		return slices.Concat(quickJava, program, args)
	}
	unsigned := map[string]string{"plain": "0 unsigned", "upgraded": "1 unsigned"}
	s.bothKinds(t, func(t *testing.T, url string) {
		said := mustRun(t, onPath(t, "java"), bouncyCastle("stamp", url, s.root, data)...)
		mustSay(t, said, "good: ", unsigned[filepath.Base(t.Name())])
	})
	said := mustRun(t, onPath(t, "java"),
		bouncyCastle("refused", s.url+"/timestamp", data, unknownPolicy)...)
	// badAlg and unacceptedPolicy, as its constants have them.
	mustSay(t, said, "status 2, failure 128: ", "status 2, failure 256: ")
	mustNotSay(t, said, ": null")
}
