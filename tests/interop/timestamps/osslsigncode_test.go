package timestamps

import (
	"bytes"
	"encoding/binary"
	"path/filepath"
	"testing"
)

func TestOsslsigncodeStampsAndVerifiesAProgram(t *testing.T) {
	t.Parallel()
	s := startService(t)
	signer := codeSigner(t)
	s.bothKinds(t, func(t *testing.T, url string) {
		signed := filepath.Join(t.TempDir(), "signed.exe")
		mustRun(t, onPath(t, "osslsigncode"), signer.sign(url, "sha256", smallProgram(t), signed)...)
		said := mustRun(t, onPath(t, "osslsigncode"), "verify", "-in", signed,
			"-CAfile", signer.certificate, "-TSA-CAfile", s.root)
		mustSay(t, said, "Timestamp Server Signature verification: ok",
			"Signature verification: ok", "Succeeded")
		// Without the root it says so, and that the program's own signature is good.
		said = mustRun(t, onPath(t, "osslsigncode"), "verify", "-in", signed,
			"-CAfile", signer.certificate, "-TSA-CAfile", signer.certificate)
		mustSay(t, said, "Timestamp Server Signature verification: failed")
	})
	signed := filepath.Join(t.TempDir(), "refused.exe")
	mustFail(t, []string{"status 2", "the hash algorithm", "is not accepted"}, onPath(t, "osslsigncode"),
		signer.sign(s.url+"/timestamp", "sha1", smallProgram(t), signed)...)
}

// signingKey is a key to sign programs with, and its certificate.
type signingKey struct{ key, certificate string }

func codeSigner(t *testing.T) signingKey {
	t.Helper()
	dir := t.TempDir()
	signer := signingKey{filepath.Join(dir, "key.pem"), filepath.Join(dir, "certificate.pem")}
	openssl(t, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc",
		"-keyout", signer.key, "-out", signer.certificate, "-days", "30", "-subj", "/CN=signer",
		"-addext", "extendedKeyUsage=codeSigning")
	return signer
}

func (s signingKey) sign(url, hash, from, to string) []string {
	return []string{
		"sign", "-certs", s.certificate, "-key", s.key, "-h", hash, "-ts", url,
		"-in", from, "-out", to,
	}
}

// smallProgram is a Portable Executable for Windows that does nothing: its headers and one section.
func smallProgram(t *testing.T) string {
	t.Helper()
	const (
		headerBytes, sectionBytes = 0x200, 0x200
		optionalBytes             = 112 + 16*8
	)
	image := new(bytes.Buffer)
	put := func(values ...any) {
		for _, value := range values {
			if err := binary.Write(image, binary.LittleEndian, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The header of MS-DOS, of which only the place of the next one is looked at.
	put([]byte("MZ"), make([]byte, 58), uint32(64))
	// COFF: AMD64, one section, an executable.
	put([]byte("PE\x00\x00"), uint16(0x8664), uint16(1), uint32(0), uint32(0), uint32(0),
		uint16(optionalBytes), uint16(0x22))
	// PE32+: sizes, entry point and base of the code.
	put(uint16(0x20b), uint16(0), uint32(sectionBytes), uint32(0), uint32(0), uint32(0x1000),
		uint32(0x1000))
	// Image base and alignments, the versions, and the sizes in memory and of the headers.
	put(uint64(0x140000000), uint32(0x1000), uint32(0x200), uint16(6), uint16(0), uint16(0),
		uint16(0), uint16(6), uint16(0), uint32(0), uint32(0x2000), uint32(headerBytes), uint32(0))
	// A console program, its stack and heap, and sixteen empty data directories.
	put(uint16(3), uint16(0), uint64(0x100000), uint64(0x1000), uint64(0x100000), uint64(0x1000),
		uint32(0), uint32(16), make([]byte, 16*8))
	put([]byte(".text\x00\x00\x00"), uint32(sectionBytes), uint32(0x1000), uint32(sectionBytes),
		uint32(headerBytes), uint32(0), uint32(0), uint16(0), uint16(0), uint32(0x60000020))
	put(make([]byte, headerBytes-image.Len()))
	// xor eax, eax; ret
	put([]byte{0x31, 0xc0, 0xc3}, make([]byte, sectionBytes-3))
	return write(t, t.TempDir(), "small.exe", image.Bytes())
}
