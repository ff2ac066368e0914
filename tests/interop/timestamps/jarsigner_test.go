package timestamps

import (
	"archive/zip"
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

const storePassword = "changeit"

func TestJarsignerStampsAndVerifiesAJar(t *testing.T) {
	t.Parallel()
	s := startService(t)
	store := keyStore(t, s.root)
	s.bothKinds(t, func(t *testing.T, url string) {
		jar := smallJar(t)
		mustSay(t, jarsigner(t, store, "-tsa", url, jar, "signer"), "jar signed.")
		verify := jarsigner(t, store, "-verify", "-verbose", "-certs", jar)
		mustSay(t, verify, "jar verified.", "Timestamped by", "Timestamp digest algorithm: SHA-256",
			"X.509, CN="+serviceOrigin+" time-stamping unit 1")
		mustNotSay(t, verify, "not timestamped")
		mustNotSay(t, verify, "invalid")
	})
}

func TestJarsignerShowsWhyARequestIsRejected(t *testing.T) {
	t.Parallel()
	s := startService(t)
	store := keyStore(t, s.root)
	for argument, words := range map[string]string{
		"-tsapolicyid " + unknownPolicy: "The requested TSA policy is not supported by the TSA",
		"-tsadigestalg SHA-1":           "Unrecognized or unsupported algorithm identifier",
	} {
		args := append(storeArgs(store), "-tsa", s.url+"/timestamp")
		args = append(args, strings.Fields(argument)...)
		mustFail(t, []string{words}, onPath(t, "jarsigner"), append(args, smallJar(t), "signer")...)
	}
}

// keyStore makes one with a key to sign jars with, and with the authority's root.
func keyStore(t *testing.T, root string) string {
	t.Helper()
	store := filepath.Join(t.TempDir(), "keys.p12")
	keytool := func(args ...string) {
		mustRun(t, onPath(t, "keytool"), append(args, storeArgs(store)...)...)
	}
	keytool("-genkeypair", "-alias", "signer", "-keyalg", "EC", "-groupname", "secp256r1",
		"-sigalg", "SHA256withECDSA", "-dname", "CN=signer", "-validity", "30")
	keytool("-importcert", "-noprompt", "-alias", "root", "-file", root)
	return store
}

func storeArgs(store string) []string {
	args := []string{"-J-Duser.language=en", "-keystore", store, "-storepass", storePassword}
	for _, option := range quickJava {
		args = append(args, "-J"+option)
	}
	return args
}

func jarsigner(t *testing.T, store string, args ...string) string {
	t.Helper()
	return mustRun(t, onPath(t, "jarsigner"), append(storeArgs(store), args...)...)
}

func smallJar(t *testing.T) string {
	t.Helper()
	var jar bytes.Buffer
	archive := zip.NewWriter(&jar)
	file, err := archive.Create("file")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write([]byte("what is signed\n")); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return write(t, t.TempDir(), "small.jar", jar.Bytes())
}
