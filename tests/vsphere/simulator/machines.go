package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// told stands between the wire and the library where -uuids is given: a device list names each disk's identity, as ESXi's does,
// from the moment at which the disk is in it.
type told struct {
	sync.RWMutex
	next http.Handler
}

func (t *told) ServeHTTP(w http.ResponseWriter, r *http.Request, name string) {
	switch name {
	case "RetrieveProperties", "RetrievePropertiesEx":
		t.RLock()
		defer t.RUnlock()
		t.next.ServeHTTP(w, r)
	case "ReconfigVM_Task":
		t.Lock()
		defer t.Unlock()
		answer := httptest.NewRecorder()
		t.next.ServeHTTP(answer, r)
		tell()
		forward(w, answer)
	default:
		t.next.ServeHTTP(w, r)
	}
}

func forward(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	for key, values := range answer.Header() {
		w.Header()[key] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

// tell writes the identities into the device lists where they are missing.
func tell() {
	for _, entity := range simulator.Map.All("VirtualMachine") {
		for _, backing := range backings(entity.(*simulator.VirtualMachine)) {
			if digits := strings.NewReplacer(" ", "", "-", "").Replace(stored(local(backing.FileName))); len(digits) == 32 {
				backing.Uuid = strings.Join([]string{digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]}, "-")
			}
		}
	}
}

func backings(vm *simulator.VirtualMachine) []*types.VirtualDiskFlatVer2BackingInfo {
	var found []*types.VirtualDiskFlatVer2BackingInfo
	for _, device := range vm.Config.Hardware.Device {
		if flat, ok := device.GetVirtualDevice().Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
			found = append(found, flat)
		}
	}
	return found
}

// steerMachine does to a VM what happens to one: vm=ID and do=off, on, suspend, destroy (what the API does), do=connected,
// disconnected, inaccessible, orphaned or invalid, do=rename&to=NAME, do=move&from=PATH&to=PATH (Storage vMotion of one disk).
func steerMachine(service soap.RoundTripper, query url.Values) error {
	ref := types.ManagedObjectReference{Type: "VirtualMachine", Value: query.Get("vm")}
	vm, ok := simulator.Map.Get(ref).(*simulator.VirtualMachine)
	if !ok {
		return fmt.Errorf("no machine %q", ref.Value)
	}
	set := func(name string, value interface{}) {
		simulator.Map.Update(vm, []types.PropertyChange{{Name: name, Val: value}})
	}
	var err error
	var none context.Context = context.Background()
	switch do := query.Get("do"); do {
	case "on":
		_, err = methods.PowerOnVM_Task(none, service, &types.PowerOnVM_Task{This: ref})
	case "off":
		_, err = methods.PowerOffVM_Task(none, service, &types.PowerOffVM_Task{This: ref})
	case "suspend":
		_, err = methods.SuspendVM_Task(none, service, &types.SuspendVM_Task{This: ref})
	case "destroy":
		_, err = methods.Destroy_Task(none, service, &types.Destroy_Task{This: ref})
	case "connected", "disconnected", "inaccessible", "orphaned", "invalid":
		set("runtime.connectionState", types.VirtualMachineConnectionState(do))
		set("summary.runtime.connectionState", types.VirtualMachineConnectionState(do))
	case "rename":
		set("name", query.Get("to"))
		set("config.name", query.Get("to"))
		set("summary.config.name", query.Get("to"))
	case "move":
		err = move(vm, query.Get("from"), query.Get("to"))
	default:
		err = fmt.Errorf("do=%s", do)
	}
	return err
}

func move(vm *simulator.VirtualMachine, from, to string) error {
	for _, backing := range backings(vm) {
		if backing.FileName == from {
			if err := os.MkdirAll(filepath.Dir(local(to)), 0o700); err != nil {
				return err
			}
			if err := os.Rename(flat(local(from)), flat(local(to))); err != nil {
				return err
			}
			if err := os.Rename(local(from), local(to)); err != nil {
				return err
			}
			backing.FileName = to
			return moved(local(to))
		}
	}
	return fmt.Errorf("%s has no disk %s", vm.Name, from)
}

// steerDatastore does to a datastore what happens to one: name=NAME and do=free&bytes=N, do=inaccessible, accessible, readonly,
// writable, do=rename&to=NAME, do=type&to=vsan. The library itself does not mind any of it.
func steerDatastore(query url.Values) error {
	store := datastore(query.Get("name"))
	if store == nil {
		return fmt.Errorf("no datastore %q", query.Get("name"))
	}
	set := func(name string, value interface{}) {
		simulator.Map.Update(store, []types.PropertyChange{{Name: name, Val: value}})
	}
	to := query.Get("to")
	switch do := query.Get("do"); do {
	case "free":
		var bytes int64
		if _, err := fmt.Sscan(query.Get("bytes"), &bytes); err != nil {
			return err
		}
		set("summary.freeSpace", bytes)
		store.Info.GetDatastoreInfo().FreeSpace = bytes
	case "accessible", "inaccessible":
		set("summary.accessible", do == "accessible")
	case "readonly", "writable":
		for i := range store.Host {
			store.Host[i].MountInfo.AccessMode = map[string]string{"readonly": "readOnly", "writable": "readWrite"}[do]
		}
	case "rename":
		for _, entity := range simulator.Map.All("VirtualMachine") {
			for _, backing := range backings(entity.(*simulator.VirtualMachine)) {
				if rest := strings.TrimPrefix(backing.FileName, "["+store.Name+"]"); rest != backing.FileName {
					backing.FileName = "[" + to + "]" + rest
				}
			}
		}
		set("name", to)
		set("summary.name", to)
		store.Info.GetDatastoreInfo().Name = to
	case "type":
		set("summary.type", to)
	default:
		return fmt.Errorf("do=%s", do)
	}
	return nil
}
