package main

import (
	"bytes"
	"context"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// runAgainst runs the command line against a fake service and returns the exit code and all output.
func runAgainst(t *testing.T, sabotage string, anchors, runs int) (int, string) {
	t.Helper()
	work := filepath.Join(t.TempDir(), "work")
	var out bytes.Buffer
	if code := dispatch(t.Context(), []string{"key", work}, &out, &out); code != 0 {
		t.Fatalf("interop key: exit code %d: %s", code, out.String())
	}
	service := newFake(t, strings.TrimSpace(out.String()), sabotage)
	server := httptest.NewServer(service)
	defer server.Close()
	args := []string{
		"run", "-url", server.URL, "-origin", fakeOrigin, "-log-vkey", service.vkey,
		"-work", work, "-quorum", "2", "-anchors", strconv.Itoa(anchors),
		"-cosigner-vkey", service.witnesses[2].vkey(),
	}
	for _, w := range service.witnesses {
		args = append(args, "-witness-vkey", w.vkey())
	}
	if runs == 1 {
		args = append(args, "-fork")
	}
	code := 0
	for range runs {
		code = dispatch(context.Background(), args, &out, &out)
	}
	return code, out.String()
}

func TestRightServicePasses(t *testing.T) {
	code, out := runAgainst(t, "", 300, 1)
	if code != 0 {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
}

func TestSecondRunContinuesTheLog(t *testing.T) {
	code, out := runAgainst(t, "", 10, 2)
	if code != 0 || strings.Count(out, "all proven") != 2 {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
}

func TestWrongServiceIsFoundOut(t *testing.T) {
	for sabotage, want := range map[string]string{
		"old cosignature":              "cosignature of w1.example: time",
		"one cosignature":              "checkpoint has 1 cosignatures, want 2",
		"forged cosignature":           "invalid signature for key w2.example",
		"no deduplication":             "for the same bytes",
		"hash of another entry":        "entry 5 hashes to",
		"accepts forks":                "another root at the same size",
		"forgives forks":               "the same once more",
		"entry without header":         "entry begins",
		"does not verify signatures":   "status 200, want [403]",
		"keeps unknown lines":          "signatures that nobody verified",
		"receipt of another entry":     "invalid",
		"receipt without cosignatures": "checkpoint has 0 cosignatures, want 2",
		"flipped tile bit":             "downloaded inconsistent tile",
		"flipped bundle bit":           "its tile says",
		"wrong proof":                  "by /proof/consistency",
	} {
		t.Run(sabotage, func(t *testing.T) {
			code, out := runAgainst(t, sabotage, 10, 1)
			if code != exitFailed {
				t.Fatalf("exit code %d, want %d:\n%s", code, exitFailed, out)
			}
			if _, message, _ := strings.Cut(out, "FAILED"); !strings.Contains(message, want) {
				t.Fatalf("the failure does not mention %q:\n%s", want, out)
			}
		})
	}
}

func TestCommandLineFaultsAreToldApart(t *testing.T) {
	for _, args := range [][]string{
		nil,
		{"wait"},
		{"key"},
		{"run"},
		{"run", "-url", "http://127.0.0.1:1", "-origin", "o", "-log-vkey", "v", "-work", "w"},
	} {
		var out bytes.Buffer
		if code := dispatch(t.Context(), args, &out, &out); code != exitUsage {
			t.Errorf("%q: exit code %d, want %d: %s", args, code, exitUsage, out.String())
		}
	}
}

func TestTilePathsFollowTheSpec(t *testing.T) {
	for _, c := range []struct {
		index int64
		width int
		want  string
	}{
		{0, 256, "/tile/0/000"},
		{0, 1, "/tile/0/000.p/1"},
		{1000, 256, "/tile/0/x001/000"},
		{1234067, 255, "/tile/0/x001/x234/067.p/255"},
	} {
		if got := tilePath("0", c.index, c.width); got != c.want {
			t.Errorf("tilePath(0, %d, %d) = %q, want %q", c.index, c.width, got, c.want)
		}
	}
}

func TestReceiptsAreReadStrictly(t *testing.T) {
	good := receipt{entry: []byte("e"), index: 0, signed: []byte("a\n1\nb\n\n— k c\n")}
	if _, err := parseReceipt(good.text()); err != nil {
		t.Fatalf("a receipt in a tree of one: %v", err)
	}
	for from, to := range map[string]string{
		"@v1":       "@v2",
		"extra ZQ":  "extra ZR",
		"extra ":    "Extra ",
		"index 0":   "index 00",
		"index 0\n": "index -1\n",
		"\n\na":     "\na",
	} {
		bad := strings.Replace(string(good.text()), from, to, 1)
		if _, err := parseReceipt([]byte(bad)); err == nil {
			t.Errorf("accepted: %q", bad)
		}
	}
}
