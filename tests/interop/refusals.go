package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// refusals sends what the spec says must not be accepted. Each must get exactly its status, and
// none may move what the service remembers.
func (s *session) refusals(ctx context.Context) error {
	cases, err := s.refusalCases()
	if err != nil {
		return err
	}
	for _, c := range cases {
		for _, route := range []string{"/add-checkpoint", "/anchor"} {
			a, err := s.client.post(ctx, route, c.body)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if err := a.want(c.status); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if c.status == 409 {
				if err := s.checkConflict(a); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
			}
			if err := s.unmoved(ctx); err != nil {
				return fmt.Errorf("after %s: %w", c.name, err)
			}
		}
	}
	a, err := s.client.get(ctx, "/add-checkpoint")
	if err != nil {
		return err
	}
	if err := a.want(405); err != nil {
		return err
	}
	if allow := a.header.Get("Allow"); !strings.Contains(allow, "POST") {
		return fmt.Errorf("%s: Allow %q, want POST", a.request, allow)
	}
	return nil
}

func (s *session) checkConflict(a *answer) error {
	size, err := sizeOfConflict(a)
	if err != nil {
		return err
	}
	if size != s.last {
		return fmt.Errorf("%s: size %d, want %d", a.request, size, s.last)
	}
	return nil
}

// unmoved asks with a stale old size what the service remembers of the log.
func (s *session) unmoved(ctx context.Context) error {
	sub, err := s.log.submission(0, s.log.signer)
	if err != nil {
		return err
	}
	a, err := s.client.post(ctx, "/add-checkpoint", sub.body(0))
	if err != nil {
		return err
	}
	return s.checkConflict(a)
}

type refusalCase struct {
	name   string
	body   []byte
	status int
}

func (s *session) refusalCases() ([]refusalCase, error) {
	byKey, err := s.refusalsByKey()
	if err != nil {
		return nil, err
	}
	bySize, err := s.refusalsBySize()
	if err != nil {
		return nil, err
	}
	byForm, err := s.refusalsByForm()
	return append(append(byKey, bySize...), byForm...), err
}

// signerNamed returns a fresh key; the name decides whom it pretends to be.
func signerNamed(name string) (note.Signer, error) {
	skey, _, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return nil, err
	}
	return note.NewSigner(skey)
}

func (s *session) refusalsByKey() ([]refusalCase, error) {
	stranger := *s.log
	stranger.origin = "unknown.example/" + rand.Text()
	var err error
	if stranger.signer, err = signerNamed(stranger.origin); err != nil {
		return nil, err
	}
	unknown, err := stranger.submission(s.last, stranger.signer)
	if err != nil {
		return nil, err
	}
	impostor, err := signerNamed(s.log.origin)
	if err != nil {
		return nil, err
	}
	wrongKey, err := s.log.submission(s.last, impostor)
	if err != nil {
		return nil, err
	}
	forger := forgedLine{s.log.signer}
	forged, err := s.log.submission(s.last, forger)
	if err != nil {
		return nil, err
	}
	return []refusalCase{
		{"an unknown origin", unknown.body(s.last), 404},
		{"only a key that is not trusted", wrongKey.body(s.last), 403},
		{"a trusted key's line that does not verify", forged.body(s.last), 403},
	}, nil
}

// forgedLine signs other bytes than it is asked to.
type forgedLine struct{ note.Signer }

func (f forgedLine) Sign(msg []byte) ([]byte, error) {
	return f.Signer.Sign(append(bytes.Clone(msg), '!'))
}

func (s *session) refusalsBySize() ([]refusalCase, error) {
	stale, err := s.log.submission(s.last-1, s.log.signer)
	if err != nil {
		return nil, err
	}
	honest := *s.log
	honest.hashes = append([]tlog.Hash(nil), s.log.hashes...)
	if err := honest.growTo(s.last + 10); err != nil {
		return nil, err
	}
	unproven, err := honest.submission(s.last, s.log.signer)
	if err != nil {
		return nil, err
	}
	unproven.proof = nil
	return []refusalCase{
		{"a stale old size", stale.body(s.last - 1), 409},
		{"an old size above the checkpoint's", stale.body(s.last + 1), 400},
		{"growth without a proof", unproven.body(s.last), 422},
	}, nil
}

// convicted signs another root at the size that the service knows. That proves that the log forked:
// it is refused, and so is all that the log signs from then on, honest or not, whatever proof comes
// with it.
func (s *session) convicted(ctx context.Context) error {
	honest, err := s.log.submission(s.last, s.log.signer)
	if err != nil {
		return err
	}
	sameSize, err := s.log.forked()
	if err != nil {
		return err
	}
	split, err := sameSize.submission(s.last, s.log.signer)
	if err != nil {
		return err
	}
	longer, err := s.log.forked()
	if err := errors.Join(err, longer.growTo(s.last+10)); err != nil {
		return err
	}
	forked, err := longer.submission(s.last, s.log.signer)
	if err != nil {
		return err
	}
	for _, c := range []refusalCase{
		{"another root at the same size", split.body(s.last), 422},
		{"the same once more", split.body(s.last), 403},
		{"a forked tree", forked.body(s.last), 403},
		{"the checkpoint that was anchored before the fork", honest.body(s.last), 403},
	} {
		a, err := s.client.post(ctx, "/add-checkpoint", c.body)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if err := a.want(c.status); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if c.status == 403 && !bytes.Contains(a.body, []byte("evidence")) {
			return fmt.Errorf("%s: %s: no evidence is named: %q", c.name, a.request, a.body)
		}
	}
	return nil
}

func (s *session) refusalsByForm() ([]refusalCase, error) {
	sub, err := s.log.submission(s.last, s.log.signer)
	if err != nil {
		return nil, err
	}
	body := string(sub.body(s.last))
	oldLine := fmt.Sprintf("old %d\n", s.last)
	hash := sub.Hash.String() + "\n"
	edit := func(from, to string) []byte { return []byte(strings.Replace(body, from, to, 1)) }
	return []refusalCase{
		{"an empty body", nil, 400},
		{"no old line", edit(oldLine, ""), 400},
		{"an old size with a leading zero", edit("old ", "old 0"), 400},
		{"an old size with a sign", edit("old ", "old +"), 400},
		{"a carriage return", edit(oldLine, strings.TrimSuffix(oldLine, "\n")+"\r\n"), 400},
		{"64 proof lines", edit(oldLine, oldLine+strings.Repeat(hash, 64)), 400},
		{"a proof line of 31 bytes", edit(oldLine, oldLine+"AAAA\n"), 400},
		{"a checkpoint size above 2^63-1",
			edit(fmt.Sprintf("\n%d\n", sub.N), "\n9223372036854775808\n"), 400},
		{"no last newline", []byte(strings.TrimSuffix(body, "\n")), 400},
		{"a body that is too long", bytes.Repeat([]byte("x"), bodyBytesMax+1), 413},
	}, nil
}
