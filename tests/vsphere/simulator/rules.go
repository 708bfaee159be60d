package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// handle answers one call: its method's name and its whole body are known.
type handle func(w http.ResponseWriter, r *http.Request, name string, body []byte)

// rule is what happens to the next calls of a method whose body has a text in it.
type rule struct {
	method, match, do, fault string
	times, ms                int
}

// rules stands before all the rest. A test adds one with /ctl/rule?method=NAME&do=DO, and times=N (1), match=TEXT (any):
//
//	fault      the task fails with fault=NAME, nothing is done     soap     the call itself does
//	never      the task goes on for ever, nothing is done          vanish   it is done, and the task is not known
//	slow       it is done after ms=N, with progress until then     wait     it is done after ms=N, and then answered
//	lost       it is done, and the connection breaks               dropped  nothing is done, and the connection breaks
//
// do=clear takes all of them away.
type rules struct {
	sync.Mutex
	list []*rule
	// Machines that a slow or never-ending task has.
	busy map[types.ManagedObjectReference]int
	next handle
}

func (t *rules) add(query url.Values) error {
	t.Lock()
	defer t.Unlock()
	made := &rule{query.Get("method"), query.Get("match"), query.Get("do"), query.Get("fault"), 1, 0}
	if made.do == "clear" {
		t.list, t.busy = nil, map[types.ManagedObjectReference]int{}
		return nil
	}
	if !strings.Contains(" fault soap never vanish slow wait lost dropped ", " "+made.do+" ") || made.method == "" {
		return fmt.Errorf("method=%s do=%s", made.method, made.do)
	}
	if _, err := faultOf(made.fault); err != nil && made.fault != "" {
		return err
	}
	for name, number := range map[string]*int{"times": &made.times, "ms": &made.ms} {
		if given := query.Get(name); given != "" {
			var err error
			if *number, err = strconv.Atoi(given); err != nil {
				return err
			}
		}
	}
	t.list = append(t.list, made)
	return nil
}

func (t *rules) take(name string, body []byte) *rule {
	t.Lock()
	defer t.Unlock()
	for _, each := range t.list {
		if each.method == name && each.times > 0 && strings.Contains(string(body), each.match) {
			each.times--
			return each
		}
	}
	return nil
}

func (t *rules) serve(w http.ResponseWriter, r *http.Request, name string, body []byte) {
	found := t.take(name, body)
	if found == nil {
		t.next(w, r, name, body)
		return
	}
	this := types.ManagedObjectReference{}
	if call, err := simulator.UnmarshalBody(types.TypeFunc(), body); err == nil {
		this = call.This
	}
	fault, _ := faultOf(found.fault)
	switch found.do {
	case "fault":
		answerTask(w, name, failed(this, name, fault))
	case "soap":
		answerFault(w, fault)
	case "never":
		t.hold(this, 1)
		answerTask(w, name, simulator.CreateTask(this, name, nil))
	case "vanish":
		if task := t.now(r, name, body); task != nil {
			simulator.Map.Remove(task.Self)
			answerTask(w, name, task)
		}
	case "slow":
		t.hold(this, 1)
		task := simulator.CreateTask(this, name, nil)
		go t.later(task, r.Clone(context.Background()), found, body, this)
		answerTask(w, name, task)
	case "wait":
		time.Sleep(time.Duration(found.ms) * time.Millisecond)
		t.next(w, r, name, body)
	case "lost":
		t.next(httptest.NewRecorder(), r, name, body)
		panic(http.ErrAbortHandler)
	case "dropped":
		panic(http.ErrAbortHandler)
	}
}

func (t *rules) hold(ref types.ManagedObjectReference, by int) {
	t.Lock()
	if t.busy[ref] += by; t.busy[ref] < 0 {
		// It was cleared meanwhile.
		t.busy[ref] = 0
	}
	t.Unlock()
}

func (t *rules) isBusy(ref types.ManagedObjectReference) bool {
	t.Lock()
	defer t.Unlock()
	return t.busy[ref] > 0
}

var reference = regexp.MustCompile(`type="Task">([^<]+)<`)

// now does what is asked for and gives the library's task of it.
func (t *rules) now(r *http.Request, name string, body []byte) *simulator.Task {
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := httptest.NewRecorder()
	t.next(answer, r, name, body)
	return taskIn(answer.Body.Bytes())
}

func taskIn(answer []byte) *simulator.Task {
	if found := reference.FindSubmatch(answer); found != nil {
		task, _ := simulator.Map.Get(types.ManagedObjectReference{Type: "Task", Value: string(found[1])}).(*simulator.Task)
		return task
	}
	return nil
}

func (t *rules) later(task *simulator.Task, r *http.Request, found *rule, body []byte, this types.ManagedObjectReference) {
	for step := 1; step <= 10; step++ {
		percent := int32(step*10 - 1)
		simulator.Map.Update(task, []types.PropertyChange{
			{Name: "info.state", Val: types.TaskInfoStateRunning}, {Name: "info.progress", Val: percent},
		})
		time.Sleep(time.Duration(found.ms) * time.Millisecond / 10)
	}
	t.hold(this, -1)
	task.Execute = func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		done := t.now(r, found.method, body)
		if done == nil {
			return nil, new(types.SystemError)
		}
		if done.Info.Error != nil {
			return nil, done.Info.Error.Fault
		}
		return done.Info.Result, nil
	}
	task.Run()
}

func failed(this types.ManagedObjectReference, name string, fault types.BaseMethodFault) *simulator.Task {
	task := simulator.CreateTask(this, name, func(*simulator.Task) (types.AnyType, types.BaseMethodFault) { return nil, fault })
	task.Run()
	return task
}

func faultOf(name string) (types.BaseMethodFault, error) {
	if kind, ok := types.TypeFunc()(name); ok {
		made := reflect.New(kind)
		for i := 0; i < kind.NumField(); i++ {
			// A client does not read a reference to nothing.
			if kind.Field(i).Type == reflect.TypeOf(types.ManagedObjectReference{}) {
				made.Elem().Field(i).Set(reflect.ValueOf(types.ManagedObjectReference{Type: "Task", Value: "task-of-another"}))
			}
		}
		if fault, ok := made.Interface().(types.BaseMethodFault); ok {
			return fault, nil
		}
	}
	return new(types.SystemError), fmt.Errorf("no fault %q", name)
}

const (
	head = `<?xml version="1.0" encoding="UTF-8"?><e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/" ` +
		`xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><e:Body>`
	tail = `</e:Body></e:Envelope>`
)

func answerTask(w http.ResponseWriter, name string, task *simulator.Task) {
	const form = `<%sResponse xmlns="urn:vim25"><returnval type="Task">%s</returnval></%sResponse>`
	fmt.Fprintf(w, head+form+tail, name, task.Self.Value, name)
}

func answerFault(w http.ResponseWriter, fault types.BaseMethodFault) {
	name := reflect.TypeOf(fault).Elem().Name()
	start := xml.StartElement{Name: xml.Name{Local: name + "Fault"}, Attr: []xml.Attr{
		{Name: xml.Name{Local: "xmlns"}, Value: "urn:vim25"}, {Name: xml.Name{Local: "xsi:type"}, Value: name},
	}}
	w.WriteHeader(http.StatusInternalServerError)
	fmt.Fprint(w, head+`<e:Fault><faultcode>ServerFaultCode</faultcode><faultstring>`+name+`</faultstring><detail>`)
	_ = xml.NewEncoder(w).EncodeElement(fault, start)
	fmt.Fprint(w, `</detail></e:Fault>`+tail)
}
