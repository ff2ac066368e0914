package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	// Fewer anchors leave no room for the receipts at a quarter, a half and the end.
	anchorsMin = 8
	// The bound of an add-checkpoint body that the service promises to take.
	bodyBytesMax = 128 << 10
	receiptWait  = time.Minute
)

// session is one run against one service.
type session struct {
	client    *client
	log       *foreignLog
	auditor   *auditor
	cosigners []*cosigner
	anchors   int
	fork      bool
	out       io.Writer

	// What the service must be able to show at the end: by entry index, the text that was signed.
	anchored map[int64]string
	receipts map[int64]*receipt
	last     int64
}

// run is the whole story; each step's claim is printed when it has been shown.
func (s *session) run(ctx context.Context) error {
	s.anchored, s.receipts = map[int64]string{}, map[int64]*receipt{}
	var first, second checkpoint
	type step struct {
		claim string
		run   func() error
	}
	steps := []step{
		{"old size is learned from 409", func() error { return s.learn(ctx) }},
		{"a first size is anchored and its receipt verifies", func() error {
			return s.firstAnchor(ctx)
		}},
		{"the published checkpoint verifies", func() (err error) {
			first, err = s.auditor.checkpoint(ctx)
			return err
		}},
		{fmt.Sprintf("%d sizes are anchored, some by POST /anchor", s.anchors), func() error {
			return s.anchorMany(ctx)
		}},
		{"the same checkpoint again is the same entry", func() error { return s.again(ctx) }},
		{"lines by unknown keys are ignored and not stored", func() error {
			return s.unknownLine(ctx)
		}},
		{"what must be refused is refused, exactly", func() error { return s.refusals(ctx) }},
		{"the newest receipt verifies", func() error { return s.newestReceipt(ctx) }},
		{"the log's newest checkpoint is served back", func() error { return s.servedBack(ctx) }},
		{"the newer published checkpoint verifies", func() (err error) {
			second, err = s.auditor.checkpoint(ctx)
			return err
		}},
		{"it continues the older one, by tiles and by proof", func() error {
			return s.auditor.auditConsistency(ctx, first, second)
		}},
		{"bundles, tiles and root hash agree; every anchor is included", func() error {
			return s.auditAnchors(ctx, second)
		}},
		{"what is not in the tree is 404", func() error { return s.absences(ctx, second) }},
	}
	if s.fork {
		steps = append(steps, step{"a log that forks is refused, and convicted for good",
			func() error { return s.convicted(ctx) }})
	}
	for _, step := range steps {
		began := time.Now()
		if err := step.run(); err != nil {
			return fmt.Errorf("%s: %w", step.claim, err)
		}
		fmt.Fprintf(s.out, "ok  %s (%v)\n", step.claim, time.Since(began).Round(time.Millisecond))
	}
	fmt.Fprintf(s.out, "interop: %d anchors, %d receipts, service tree %d to %d: all proven\n",
		len(s.anchored), len(s.receipts), first.N, second.N)
	return nil
}

// learn finds out what the service last saw of this log. On a service that has seen nothing it
// also shows that a proof from size 0 must be empty.
func (s *session) learn(ctx context.Context) error {
	if err := s.log.growTo(1); err != nil {
		return err
	}
	sub, err := s.log.submission(0, s.log.signer)
	if err != nil {
		return err
	}
	sub.proof = []tlog.Hash{sub.Hash}
	a, err := s.client.post(ctx, "/add-checkpoint", sub.body(0))
	if err != nil {
		return err
	}
	if a.status == 422 {
		return nil
	}
	if s.last, err = sizeOfConflict(a); err != nil {
		return err
	}
	return s.log.growTo(s.last)
}

// sizeOfConflict reads a 409 answer.
func sizeOfConflict(a *answer) (int64, error) {
	if err := errors.Join(a.want(409), a.wantType("text/x.tlog.size")); err != nil {
		return 0, err
	}
	line, ended := strings.CutSuffix(string(a.body), "\n")
	size, err := strconv.ParseInt(line, 10, 64)
	if err != nil || !ended || strconv.FormatInt(size, 10) != line {
		return 0, fmt.Errorf("%s: body %q is no decimal size and newline", a.request, a.body)
	}
	return size, nil
}

// grow appends leaves and returns the submission from the size that the service last saw.
func (s *session) grow(leaves int64) (*submission, error) {
	if err := s.log.growTo(s.log.size + leaves); err != nil {
		return nil, err
	}
	return s.log.submission(s.last, s.log.signer)
}

// add anchors through the witness route and returns the index of the entry.
func (s *session) add(ctx context.Context, sub *submission) (int64, error) {
	a, err := s.client.post(ctx, "/add-checkpoint", sub.body(s.last))
	if err != nil {
		return 0, err
	}
	if err := errors.Join(a.want(200), a.wantType("text/plain")); err != nil {
		return 0, fmt.Errorf("size %d: %w", sub.N, err)
	}
	if err := s.checkCosignatures(sub, a.body); err != nil {
		return 0, fmt.Errorf("size %d: %s: %w", sub.N, a.request, err)
	}
	index, err := receiptIndex(a)
	if err != nil {
		return 0, err
	}
	s.anchored[index], s.last = sub.text(), sub.N
	return index, nil
}

func receiptIndex(a *answer) (int64, error) {
	location := a.header.Get("Location")
	digits, found := strings.CutPrefix(location, "/receipt/")
	index, err := strconv.ParseInt(digits, 10, 64)
	if !found || err != nil || strconv.FormatInt(index, 10) != digits {
		return 0, fmt.Errorf("%s: Location %q, want /receipt/<index>", a.request, location)
	}
	return index, nil
}

// checkCosignatures reads the lines as tlog-witness recommends: put behind the checkpoint that was
// sent, and opened as a note. Every line must be by a key that this program was told of, if any.
func (s *session) checkCosignatures(sub *submission, lines []byte) error {
	signed := append(bytes.Clone(sub.signed), lines...)
	known := append([]note.Verifier{s.log.verifier}, verifiersOf(s.cosigners)...)
	n, err := note.Open(signed, note.VerifierList(known...))
	if err != nil {
		return fmt.Errorf("cosignature lines: %w: %q", err, beginning(lines))
	}
	all := append(n.Sigs[1:], n.UnverifiedSigs...)
	if len(all) == 0 {
		return fmt.Errorf("no cosignature line in %q", beginning(lines))
	}
	for _, sig := range all {
		c := find(s.cosigners, sig)
		if c == nil {
			if len(s.cosigners) > 0 {
				return fmt.Errorf("line by %s with key id %08x: not a key of the service",
					sig.Name, sig.Hash)
			}
			continue
		}
		t, err := c.parse(sig)
		if err != nil {
			return err
		}
		if err := plausible(t.time); err != nil {
			return fmt.Errorf("cosignature of %s: %w", sig.Name, err)
		}
	}
	return nil
}

// waitReceipt asks until the quorum has cosigned; then the receipt must verify with no network
// and carry what was sent.
func (s *session) waitReceipt(ctx context.Context, path string, index int64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, receiptWait,
		fmt.Errorf("no receipt within %v", receiptWait))
	defer cancel()
	for {
		a, err := s.client.get(ctx, path)
		if err != nil {
			return err
		}
		if a.status != 202 {
			return s.checkReceipt(a, index)
		}
		if err := pause(ctx, a); err != nil {
			return err
		}
	}
}

func (s *session) checkReceipt(a *answer, index int64) error {
	if err := errors.Join(a.want(200), a.wantType("text/plain")); err != nil {
		return err
	}
	r, _, err := s.auditor.openReceipt(a.body)
	if err != nil {
		return fmt.Errorf("%s: %w", a.request, err)
	}
	if r.index != index {
		return fmt.Errorf("%s: receipt of entry %d, want %d", a.request, r.index, index)
	}
	if err := s.checkEntry(r.entry, s.anchored[index]); err != nil {
		return fmt.Errorf("%s: %w", a.request, err)
	}
	s.receipts[index] = r
	return nil
}

// checkEntry demands that an entry is this log's checkpoint, with its one signature and no other.
func (s *session) checkEntry(entry []byte, text string) error {
	signed, err := noteOfEntry(entry)
	if err != nil {
		return err
	}
	n, err := note.Open(signed, note.VerifierList(s.log.verifier))
	if err != nil {
		return fmt.Errorf("entry: %w: %q", err, beginning(entry))
	}
	if n.Text != text {
		return fmt.Errorf("entry holds %q, sent was %q", n.Text, text)
	}
	if len(n.Sigs) != 1 || len(n.UnverifiedSigs) != 0 {
		return fmt.Errorf("entry holds signatures that nobody verified: %q", beginning(entry))
	}
	return nil
}

func (s *session) firstAnchor(ctx context.Context) error {
	sub, err := s.grow(1)
	if err != nil {
		return err
	}
	index, err := s.add(ctx, sub)
	if err != nil {
		return err
	}
	return s.waitReceipt(ctx, fmt.Sprintf("/receipt/%d?wait=10", index), index)
}

// anchorMany grows the log by 1 to 7 leaves at a time, so that old and new size meet in many ways;
// a few of the anchors go through POST /anchor.
func (s *session) anchorMany(ctx context.Context) error {
	for i := range s.anchors {
		sub, err := s.grow(int64(1 + i*5%7))
		if err != nil {
			return err
		}
		if i%(s.anchors/4) == 1 {
			err = s.anchor(ctx, sub)
		} else {
			_, err = s.add(ctx, sub)
		}
		if err != nil {
			return fmt.Errorf("anchor %d: %w", i, err)
		}
	}
	return nil
}

// anchor sends to POST /anchor, which answers with the receipt, or says where it will be.
func (s *session) anchor(ctx context.Context, sub *submission) error {
	a, err := s.client.post(ctx, "/anchor", sub.body(s.last), "Prefer", "wait=10")
	if err != nil {
		return err
	}
	if err := a.want(200, 202); err != nil {
		return fmt.Errorf("size %d: %w", sub.N, err)
	}
	s.last = sub.N
	if a.status == 202 {
		index, err := receiptIndex(a)
		if err != nil {
			return err
		}
		s.anchored[index] = sub.text()
		if err := pause(ctx, a); err != nil {
			return err
		}
		return s.waitReceipt(ctx, a.header.Get("Location"), index)
	}
	r, err := parseReceipt(a.body)
	if err != nil {
		return fmt.Errorf("%s: %w", a.request, err)
	}
	s.anchored[r.index] = sub.text()
	return s.checkReceipt(a, r.index)
}

func (s *session) again(ctx context.Context) error {
	sub, err := s.grow(1)
	if err != nil {
		return err
	}
	first, err := s.add(ctx, sub)
	if err != nil {
		return err
	}
	if sub, err = s.log.submission(s.last, s.log.signer); err != nil {
		return err
	}
	second, err := s.add(ctx, sub)
	if err != nil {
		return err
	}
	if first != second {
		return fmt.Errorf("entry %d, then entry %d for the same bytes", first, second)
	}
	return nil
}

func (s *session) unknownLine(ctx context.Context) error {
	skey, _, err := note.GenerateKey(rand.Reader, "unknown.example/cosigner")
	if err != nil {
		return err
	}
	stranger, err := note.NewSigner(skey)
	if err != nil {
		return err
	}
	if err := s.log.growTo(s.log.size + 1); err != nil {
		return err
	}
	sub, err := s.log.submission(s.last, stranger, s.log.signer)
	if err != nil {
		return err
	}
	index, err := s.addWithUnknownLine(ctx, sub)
	if err != nil {
		return err
	}
	return s.waitReceipt(ctx, fmt.Sprintf("/receipt/%d?wait=10", index), index)
}

// addWithUnknownLine is add for a note with two lines, of which only the log's own may come back
// in the entry; checkEntry sees to that.
func (s *session) addWithUnknownLine(ctx context.Context, sub *submission) (int64, error) {
	body := sub.body(s.last)
	plain, err := s.log.submission(s.last, s.log.signer)
	if err != nil {
		return 0, err
	}
	a, err := s.client.post(ctx, "/add-checkpoint", body)
	if err != nil {
		return 0, err
	}
	if err := a.want(200); err != nil {
		return 0, err
	}
	if err := s.checkCosignatures(plain, a.body); err != nil {
		return 0, err
	}
	index, err := receiptIndex(a)
	if err != nil {
		return 0, err
	}
	s.anchored[index], s.last = sub.text(), sub.N
	return index, nil
}

func (s *session) newestReceipt(ctx context.Context) error {
	sub, err := s.grow(1)
	if err != nil {
		return err
	}
	index, err := s.add(ctx, sub)
	if err != nil {
		return err
	}
	return s.waitReceipt(ctx, fmt.Sprintf("/receipt/%d?wait=10", index), index)
}

func (s *session) servedBack(ctx context.Context) error {
	path := fmt.Sprintf("/logs/%x/checkpoint", sha256.Sum256([]byte(s.log.origin)))
	a, err := s.client.get(ctx, path)
	if err != nil {
		return err
	}
	if err := errors.Join(a.want(200), a.wantType("text/plain")); err != nil {
		return err
	}
	n, err := note.Open(a.body, note.VerifierList(s.log.verifier))
	if err != nil {
		return fmt.Errorf("%s: %w", a.request, err)
	}
	newest, err := s.log.checkpoint()
	if err != nil {
		return err
	}
	if n.Text != newest.text() {
		return fmt.Errorf("%s: %q, want %q", a.request, n.Text, newest.text())
	}
	return nil
}

// auditAnchors reads the whole tree and finds every anchor in it where it was said to be.
func (s *session) auditAnchors(ctx context.Context, head checkpoint) error {
	all, err := s.auditor.auditEntries(ctx, head)
	if err != nil {
		return err
	}
	tiles := s.auditor.hashes(ctx, head)
	for index, text := range s.anchored {
		if index >= head.N {
			return fmt.Errorf("entry %d has a receipt, the published tree has %d", index, head.N)
		}
		if err := s.checkEntry(all[index], text); err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		if r := s.receipts[index]; r != nil && !bytes.Equal(r.entry, all[index]) {
			return fmt.Errorf("entry %d: bundle and receipt differ", index)
		}
		err := s.auditor.auditInclusion(ctx, head, tiles, index, all[index])
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *session) absences(ctx context.Context, head checkpoint) error {
	beyond := head.N/tileWidth + 1
	for _, path := range []string{
		tilePath("0", beyond, tileWidth),
		tilePath("entries", beyond, tileWidth),
		tilePath("9", 0, 1),
		fmt.Sprintf("/receipt/%d", head.N+1_000_000),
		"/logs/" + strings.Repeat("0", 2*sha256.Size) + "/checkpoint",
		"/no-such-route",
	} {
		a, err := s.client.get(ctx, path)
		if err != nil {
			return err
		}
		if err := a.want(404); err != nil {
			return err
		}
	}
	for _, path := range []string{
		"/tile/0/0", "/tile/64/000", "/tile/00/000", "/tile/0/000.p/0", "/tile/0/000.p/256",
		"/tile/0/x000/000", "/tile/0/1234/000",
	} {
		a, err := s.client.get(ctx, path)
		if err != nil {
			return err
		}
		if err := a.want(400, 404); err != nil {
			return err
		}
	}
	return nil
}
