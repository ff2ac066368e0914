package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// How far a cosignature's time may be from this machine's, on which the witnesses run too.
const (
	cosignatureFutureMax = time.Minute
	cosignatureAgeMax    = time.Hour
)

// auditor believes only what the keys it was given have signed.
type auditor struct {
	client    *client
	origin    string
	log       note.Verifier
	witnesses []*cosigner
	quorum    int
}

func newAuditor(
	c *client, origin, logKey string, witnessKeys []string, quorum int,
) (*auditor, error) {
	log, err := note.NewVerifier(logKey)
	if err != nil {
		return nil, fmt.Errorf("-log-vkey: %w", err)
	}
	witnesses, err := parseCosigners(witnessKeys)
	if err != nil {
		return nil, fmt.Errorf("-witness-vkey: %w", err)
	}
	if usable := len(verifiersOf(witnesses)); usable < quorum {
		return nil, fmt.Errorf("-witness-vkey: %d of type 0x04, fewer than the quorum of %d",
			usable, quorum)
	}
	return &auditor{client: c, origin: origin, log: log, witnesses: witnesses, quorum: quorum}, nil
}

// open verifies the service's checkpoint: the log's own signature, and a quorum of witnesses.
func (a *auditor) open(signed []byte) (checkpoint, error) {
	known := append([]note.Verifier{a.log}, verifiersOf(a.witnesses)...)
	n, err := note.Open(signed, note.VerifierList(known...))
	if err != nil {
		return checkpoint{}, fmt.Errorf("checkpoint: %w: %q", err, beginning(signed))
	}
	byLog, cosigned := false, 0
	for _, sig := range n.Sigs {
		if sig.Name == a.log.Name() && sig.Hash == a.log.KeyHash() {
			byLog = true
			continue
		}
		t, err := find(a.witnesses, sig).parse(sig)
		if err != nil {
			return checkpoint{}, err
		}
		if err := plausible(t.time); err != nil {
			return checkpoint{}, fmt.Errorf("cosignature of %s: %w", sig.Name, err)
		}
		cosigned++
	}
	if !byLog {
		return checkpoint{}, fmt.Errorf("checkpoint lacks the signature of %s", a.log.Name())
	}
	if cosigned < a.quorum {
		return checkpoint{}, fmt.Errorf("checkpoint has %d cosignatures, want %d",
			cosigned, a.quorum)
	}
	c, err := parseCheckpoint(n.Text)
	if err != nil {
		return checkpoint{}, err
	}
	if c.origin != a.origin {
		return checkpoint{}, fmt.Errorf("checkpoint of origin %q, want %q", c.origin, a.origin)
	}
	return c, nil
}

func plausible(seconds uint64) error {
	age := time.Since(time.Unix(int64(seconds), 0))
	if age < -cosignatureFutureMax || age > cosignatureAgeMax {
		return fmt.Errorf("time %d is %v old", seconds, age.Round(time.Second))
	}
	return nil
}

// checkpoint fetches the published tree head.
func (a *auditor) checkpoint(ctx context.Context) (checkpoint, error) {
	got, err := a.client.get(ctx, "/checkpoint")
	if err != nil {
		return checkpoint{}, err
	}
	err = errors.Join(got.want(200), got.wantType("text/plain; charset=utf-8"))
	if err != nil {
		return checkpoint{}, err
	}
	return a.open(got.body)
}

// openReceipt verifies a receipt with no network: signatures, quorum and inclusion of the entry.
func (a *auditor) openReceipt(text []byte) (*receipt, checkpoint, error) {
	r, err := parseReceipt(text)
	if err != nil {
		return nil, checkpoint{}, err
	}
	head, err := a.open(r.signed)
	if err != nil {
		return nil, checkpoint{}, fmt.Errorf("receipt of entry %d: %w", r.index, err)
	}
	err = tlog.CheckRecord(r.proof, head.N, head.Hash, r.index, tlog.RecordHash(r.entry))
	if err != nil {
		return nil, checkpoint{}, fmt.Errorf("receipt of entry %d in %d: %w", r.index, head.N, err)
	}
	return r, head, nil
}

// hashes reads the tree of that head from tiles, each verified against the root hash.
func (a *auditor) hashes(ctx context.Context, head checkpoint) tlog.HashReader {
	return tlog.TileHashReader(head.Tree, newTileSource(ctx, a.client))
}

// auditEntries recomputes the whole tree from the entry bundles, and compares every leaf hash with
// the tiles'. It returns the entries.
func (a *auditor) auditEntries(ctx context.Context, head checkpoint) ([][]byte, error) {
	all, err := entries(ctx, a.client, head.N)
	if err != nil {
		return nil, err
	}
	tiles := a.hashes(ctx, head)
	indexes := make([]int64, len(all))
	for i := range all {
		indexes[i] = tlog.StoredHashIndex(0, int64(i))
	}
	leaves, err := tiles.ReadHashes(indexes)
	if err != nil {
		return nil, fmt.Errorf("tiles of size %d: %w", head.N, err)
	}
	own := &foreignLog{}
	for i, entry := range all {
		if got := tlog.RecordHash(entry); got != leaves[i] {
			return nil, fmt.Errorf("entry %d hashes to %s, its tile says %s", i, got, leaves[i])
		}
		stored, err := tlog.StoredHashes(int64(i), entry, own.reader())
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		own.hashes = append(own.hashes, stored...)
	}
	root, err := tlog.TreeHash(head.N, own.reader())
	if err != nil {
		return nil, fmt.Errorf("entries of size %d: %w", head.N, err)
	}
	if root != head.Hash {
		return nil, fmt.Errorf("the entries give root %s, the checkpoint of size %d says %s",
			root, head.N, head.Hash)
	}
	return all, nil
}

// auditConsistency proves that newer continues older: once with the tiles, once with the
// service's own proof, and the two proofs must be the same.
func (a *auditor) auditConsistency(ctx context.Context, older, newer checkpoint) error {
	fromTiles, err := tlog.ProveTree(newer.N, older.N, a.hashes(ctx, newer))
	if err != nil {
		return fmt.Errorf("consistency %d to %d from tiles: %w", older.N, newer.N, err)
	}
	path := fmt.Sprintf("/proof/consistency?from=%d&to=%d", older.N, newer.N)
	served, err := a.proof(ctx, path)
	if err != nil {
		return err
	}
	for source, proof := range map[string][]tlog.Hash{"tiles": fromTiles, path: served} {
		err := tlog.CheckTree(proof, newer.N, newer.Hash, older.N, older.Hash)
		if err != nil {
			return fmt.Errorf("consistency %d to %d by %s: %w", older.N, newer.N, source, err)
		}
	}
	return sameProof(path, served, fromTiles)
}

// auditInclusion proves one entry in the tree of head, in the same two ways; the service is asked
// for it by index and by leaf hash.
func (a *auditor) auditInclusion(
	ctx context.Context, head checkpoint, tiles tlog.HashReader, index int64, entry []byte,
) error {
	leaf := tlog.RecordHash(entry)
	fromTiles, err := tlog.ProveRecord(head.N, index, tiles)
	if err != nil {
		return fmt.Errorf("inclusion of %d in %d from tiles: %w", index, head.N, err)
	}
	if err := tlog.CheckRecord(fromTiles, head.N, head.Hash, index, leaf); err != nil {
		return fmt.Errorf("inclusion of %d in %d by tiles: %w", index, head.N, err)
	}
	for _, path := range []string{
		fmt.Sprintf("/proof/inclusion?index=%d&size=%d", index, head.N),
		fmt.Sprintf("/proof/inclusion?leaf=%s&size=%d", url.QueryEscape(leaf.String()), head.N),
	} {
		served, err := a.proof(ctx, path)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(served, head.N, head.Hash, index, leaf); err != nil {
			return fmt.Errorf("inclusion of %d in %d by %s: %w", index, head.N, path, err)
		}
		if err := sameProof(path, served, fromTiles); err != nil {
			return err
		}
	}
	return nil
}

func (a *auditor) proof(ctx context.Context, path string) ([]tlog.Hash, error) {
	got, err := a.client.get(ctx, path)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(got.want(200), got.wantType("text/plain")); err != nil {
		return nil, err
	}
	proof, err := parseHashes(string(got.body))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", got.request, err)
	}
	return proof, nil
}

func sameProof(path string, served, own []tlog.Hash) error {
	if formatHashes(served) != formatHashes(own) {
		return fmt.Errorf("%s: the proof verifies but is not RFC 6962's: %v, want %v",
			path, served, own)
	}
	return nil
}
