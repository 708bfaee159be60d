package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
)

// brackets lets a datastore have a name with a ']' in it. The library ends a datastore's name in a path at the first one, so inside
// the name has another character in its place; whoever asks says and sees the name as it is.
type brackets struct {
	sync.RWMutex
	inside map[string]string
	next   http.Handler
}

const notABracket = "﹞"

func (b *brackets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if query := r.URL.Query(); r.URL.Path == "/ctl/datastore" || strings.HasPrefix(r.URL.Path, "/folder/") {
		for _, key := range []string{"name", "to", "dsName"} {
			if query.Has(key) {
				query.Set(key, b.hide(query.Get(key)))
			}
		}
		r.URL.RawQuery = query.Encode()
		b.next.ServeHTTP(w, r)
		return
	}
	b.RLock()
	inside := b.inside
	b.RUnlock()
	if len(inside) == 0 || r.Method != http.MethodPost {
		b.next.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	for name, hidden := range inside {
		body = bytes.ReplaceAll(body, []byte("["+escaped(name)+"]"), []byte("["+escaped(hidden)+"]"))
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	answer := httptest.NewRecorder()
	b.next.ServeHTTP(answer, r)
	for key, values := range answer.Header() {
		if key != "Content-Length" {
			w.Header()[key] = values
		}
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(bytes.ReplaceAll(answer.Body.Bytes(), []byte(notABracket), []byte("]")))
}

// hide gives the name as it is inside, and remembers it.
func (b *brackets) hide(name string) string {
	hidden := strings.ReplaceAll(name, "]", notABracket)
	if hidden == name {
		return name
	}
	b.Lock()
	defer b.Unlock()
	known := map[string]string{name: hidden}
	for each, inside := range b.inside {
		known[each] = inside
	}
	b.inside = known
	return hidden
}
