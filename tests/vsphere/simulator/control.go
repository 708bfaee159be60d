package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"sync"

	"github.com/vmware/govmomi/simulator"
)

// counted stands before the simulator and counts the methods that are asked for, by the name in the SOAP body: what a test
// compares with what it sent. It also answers what a test asks the simulator itself: /ctl/calls and /ctl/next-status?code=503.
type counted struct {
	sync.Mutex
	calls map[string]int
	next  http.Handler
}

var method = regexp.MustCompile(`(?s)<[A-Za-z]+:Body>\s*<([A-Za-z_]+)`)

func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/ctl/calls":
		c.Lock()
		defer c.Unlock()
		_ = json.NewEncoder(w).Encode(c.calls)
	case r.URL.Path == "/ctl/next-status":
		code, err := strconv.Atoi(r.URL.Query().Get("code"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		simulator.StatusSDK = code
	case r.Method == http.MethodPost:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if found := method.FindSubmatch(body); found != nil {
			c.Lock()
			c.calls[string(found[1])]++
			c.Unlock()
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		c.next.ServeHTTP(w, r)
	default:
		c.next.ServeHTTP(w, r)
	}
}
