package peers

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// exchange is one add-checkpoint request and its answer, as they went by.
type exchange struct {
	request string
	answer  string
	status  int
}

// String is the old size line, the status, and the size that a 409 tells.
func (e exchange) String() string {
	old, _, _ := strings.Cut(e.request, "\n")
	text := fmt.Sprintf("%s: %d", old, e.status)
	if e.status == http.StatusConflict {
		text += " " + strings.TrimSpace(e.answer)
	}
	return text
}

// window stands before a witness, lets everything through unchanged, and keeps it. While it is
// shut, the witness cannot be reached.
type window struct {
	*httptest.Server
	shut   atomic.Bool
	target atomic.Pointer[string]
	mu     sync.Mutex
	kept   []exchange
}

func openWindow(t *testing.T, target string) *window {
	t.Helper()
	w := &window{}
	w.aim(target)
	w.Server = httptest.NewServer(http.HandlerFunc(
		func(out http.ResponseWriter, in *http.Request) {
			if err := w.pass(out, in); err != nil {
				http.Error(out, err.Error(), http.StatusBadGateway)
			}
		}))
	t.Cleanup(w.Close)
	return w
}

// aim says where the witness is.
func (w *window) aim(target string) { w.target.Store(&target) }

func (w *window) pass(out http.ResponseWriter, in *http.Request) error {
	request, err := io.ReadAll(in.Body)
	if err != nil {
		return err
	}
	if w.shut.Load() {
		out.WriteHeader(http.StatusServiceUnavailable)
		w.keep(exchange{string(request), "", http.StatusServiceUnavailable})
		return nil
	}
	onward, err := http.NewRequestWithContext(
		in.Context(), in.Method, *w.target.Load()+in.URL.Path, bytes.NewReader(request))
	if err != nil {
		return err
	}
	onward.Header = in.Header.Clone()
	response, err := http.DefaultTransport.RoundTrip(onward)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	w.keep(exchange{string(request), string(answer), response.StatusCode})
	clear(out.Header())
	for name, values := range response.Header {
		out.Header()[name] = values
	}
	out.WriteHeader(response.StatusCode)
	_, err = out.Write(answer)
	return err
}

func (w *window) keep(e exchange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept = append(w.kept, e)
}

func (w *window) seen() []exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.kept)
}

// take returns what went by since it was asked last.
func (w *window) take() []exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := w.kept
	w.kept = nil
	return kept
}
