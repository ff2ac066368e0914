package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// A full tile has 8,192 bytes, a full bundle at most 256 × (2 + 65,535): no answer is longer.
	answerBytesMax = 17 << 20
	requestTimeout = 30 * time.Second
	// An operator may set a long Retry-After; a test wants to know sooner.
	retryAfterMax = 2 * time.Second
)

// client speaks to one service over kept-alive connections and follows no redirect.
type client struct {
	base string
	http *http.Client
}

func newClient(base string) *client {
	return &client{
		base: strings.TrimSuffix(base, "/"),
		http: &http.Client{
			Timeout: requestTimeout,
			// What is compressed shall be seen, so that it can be checked.
			Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 8},
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			},
		},
	}
}

// answer is a whole HTTP answer, its body decoded.
type answer struct {
	request    string
	status     int
	header     http.Header
	body       []byte
	compressed bool
}

// want returns an error unless the status is one of those given.
func (a *answer) want(statuses ...int) error {
	for _, s := range statuses {
		if a.status == s {
			return nil
		}
	}
	return fmt.Errorf("%s: status %d, want %v; the body begins %q",
		a.request, a.status, statuses, beginning(a.body))
}

// wantType returns an error unless the media type is that one; parameters are part of it if given.
func (a *answer) wantType(media string) error {
	got := a.header.Get("Content-Type")
	if !strings.Contains(media, ";") {
		got, _, _ = strings.Cut(got, ";")
	}
	if !strings.EqualFold(strings.ReplaceAll(got, " ", ""), strings.ReplaceAll(media, " ", "")) {
		return fmt.Errorf("%s: Content-Type %q, want %q",
			a.request, a.header.Get("Content-Type"), media)
	}
	return nil
}

func beginning(body []byte) string {
	const shown = 200
	if len(body) > shown {
		return string(body[:shown]) + "…"
	}
	return string(body)
}

func (c *client) get(ctx context.Context, path string, header ...string) (*answer, error) {
	return c.do(ctx, http.MethodGet, path, nil, header...)
}

func (c *client) post(
	ctx context.Context, path string, body []byte, header ...string,
) (*answer, error) {
	return c.do(ctx, http.MethodPost, path, body, header...)
}

// do sends one request; header holds names and values by turns.
func (c *client) do(
	ctx context.Context, method, path string, body []byte, header ...string,
) (*answer, error) {
	url := path
	if strings.HasPrefix(path, "/") {
		url = c.base + path
	}
	name := method + " " + url
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer response.Body.Close()
	a := &answer{request: name, status: response.StatusCode, header: response.Header}
	var reader io.Reader = response.Body
	switch encoding := response.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
	case "gzip":
		a.compressed = true
		if reader, err = gzip.NewReader(response.Body); err != nil {
			return nil, fmt.Errorf("%s: gzip: %w", name, err)
		}
	default:
		return nil, fmt.Errorf("%s: Content-Encoding %q was not asked for", name, encoding)
	}
	a.body, err = io.ReadAll(io.LimitReader(reader, answerBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("%s: body: %w", name, err)
	}
	if len(a.body) > answerBytesMax {
		return nil, fmt.Errorf("%s: body is longer than %d bytes", name, answerBytesMax)
	}
	return a, nil
}

// pause waits as long as a 202 answer asks for, within reason.
func pause(ctx context.Context, a *answer) error {
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return fmt.Errorf("%s: status 202 needs Retry-After in seconds, got %q",
			a.request, a.header.Get("Retry-After"))
	}
	timer := time.NewTimer(min(time.Duration(seconds)*time.Second, retryAfterMax))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("%s: still pending: %w", a.request, context.Cause(ctx))
	case <-timer.C:
		return nil
	}
}

// wantImmutable returns an error unless the answer may be cached for long.
func (a *answer) wantImmutable() error {
	const longLived = 24 * 60 * 60
	control := a.header.Get("Cache-Control")
	for directive := range strings.SplitSeq(control, ",") {
		seconds, found := strings.CutPrefix(strings.TrimSpace(directive), "max-age=")
		if age, err := strconv.Atoi(seconds); found && err == nil && age >= longLived {
			return nil
		}
	}
	return fmt.Errorf("%s: Cache-Control %q on what never changes", a.request, control)
}
