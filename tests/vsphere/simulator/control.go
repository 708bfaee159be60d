package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// counted stands before the simulator and counts the methods that are asked for, by the name in the SOAP body: what a test
// compares with what it sent. It also answers what a test asks the simulator itself: /ctl/calls, /ctl/operations,
// /ctl/next-status?code=503, /ctl/task, /ctl/vm, /ctl/datastore, /ctl/policy and /ctl/rule.
type counted struct {
	sync.Mutex
	calls      map[string]int
	operations []operation
	service    soap.RoundTripper
	world      *world
}

// operation is a call whose SOAP header has an operationID, which vCenter writes into its own logs and tasks.
type operation struct {
	Method string `json:"method"`
	ID     string `json:"id"`
}

var (
	method      = regexp.MustCompile(`(?s)<[A-Za-z]+:Body>\s*<([A-Za-z_]+)`)
	operationID = regexp.MustCompile(`(?s)<[A-Za-z]+:Header>.*?<operationID[^>]*>([^<]*)<`)
)

func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/ctl/calls":
		c.Lock()
		defer c.Unlock()
		_ = json.NewEncoder(w).Encode(c.calls)
	case r.URL.Path == "/ctl/operations":
		c.Lock()
		defer c.Unlock()
		_ = json.NewEncoder(w).Encode(c.operations)
	case r.URL.Path == "/ctl/next-status":
		code, err := strconv.Atoi(r.URL.Query().Get("code"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		simulator.StatusSDK = code
	case r.URL.Path == "/ctl/task":
		steer(w, r.URL.Query())
	case r.URL.Path == "/ctl/vm":
		said(w, steerMachine(&c.world.RWMutex, c.service, r.URL.Query()))
	case r.URL.Path == "/ctl/datastore":
		said(w, steerDatastore(&c.world.RWMutex, r.URL.Query()))
	case r.URL.Path == "/ctl/policy":
		said(w, steerPolicy(&c.world.RWMutex, r.URL.Query()))
	case r.URL.Path == "/ctl/rule":
		said(w, c.world.rules.add(r.URL.Query()))
	case strings.HasPrefix(r.URL.Path, "/folder/"):
		c.count(r.Method + " /folder")
		c.world.serveFolder(w, r)
	case r.Method == http.MethodPost:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		name := ""
		if found := method.FindSubmatch(body); found != nil {
			name = string(found[1])
			c.count(name)
			c.note(name, body)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		c.world.rules.serve(w, r, name, body)
	default:
		c.world.next.ServeHTTP(w, r)
	}
}

func (c *counted) count(name string) {
	c.Lock()
	c.calls[name]++
	c.Unlock()
}

func (c *counted) note(name string, body []byte) {
	if found := operationID.FindSubmatch(body); found != nil {
		c.Lock()
		c.operations = append(c.operations, operation{name, string(found[1])})
		c.Unlock()
	}
}

func said(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

// steer makes tasks that end when a test says so; the library's own have ended before their id is known. Without id: a new
// one, whose id is the answer. With: do=progress&percent=30, do=succeed, do=fail (NoDiskSpace), do=forget.
func steer(w http.ResponseWriter, query url.Values) {
	id := query.Get("id")
	if id == "" {
		owner := simulator.Map.Get(*simulator.Map.Any("Datastore").(*simulator.Datastore).Parent)
		_, _ = io.WriteString(w, simulator.CreateTask(owner, "steered", nil).Self.Value)
		return
	}
	task, ok := simulator.Map.Get(types.ManagedObjectReference{Type: "Task", Value: id}).(*simulator.Task)
	if !ok {
		http.Error(w, "no task "+id, http.StatusNotFound)
		return
	}
	set := func(changes ...types.PropertyChange) { simulator.Map.Update(task, changes) }
	switch query.Get("do") {
	case "progress":
		percent, _ := strconv.Atoi(query.Get("percent"))
		set(
			types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateRunning},
			types.PropertyChange{Name: "info.progress", Val: int32(percent)},
		)
	case "succeed":
		task.Execute = func(*simulator.Task) (types.AnyType, types.BaseMethodFault) { return "made", nil }
		task.Run()
	case "fail":
		task.Execute = func(*simulator.Task) (types.AnyType, types.BaseMethodFault) { return nil, new(types.NoDiskSpace) }
		task.Run()
	case "forget":
		simulator.Map.Remove(task.Self)
	default:
		http.Error(w, "do=progress, succeed, fail or forget", http.StatusBadRequest)
	}
}
