package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// sizes has the datastores that a test gave a size; the others are as large as the disk of this machine.
var sizes = map[types.ManagedObjectReference]int64{}

func datastore(name string) *simulator.Datastore {
	for _, each := range simulator.Map.All("Datastore") {
		if store := each.(*simulator.Datastore); store.Name == name {
			return store
		}
	}
	return nil
}

// storeOf is the datastore of a datastore path.
func storeOf(name string) *simulator.Datastore {
	var p object.DatastorePath
	p.FromString(name)
	return datastore(p.Datastore)
}

// local is the file of a datastore path; the library has checked it.
func local(name string) string {
	var p object.DatastorePath
	p.FromString(name)
	if store := datastore(p.Datastore); store != nil {
		return filepath.Join(store.Info.GetDatastoreInfo().Url, p.Path)
	}
	return ""
}

// flat is where the library puts the extent.
func flat(file string) string { return strings.Replace(file, ".vmdk", "-flat.vmdk", 1) }

func free(store *simulator.Datastore) int64 {
	left := sizes[store.Self]
	_ = filepath.WalkDir(store.Info.GetDatastoreInfo().Url, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			left -= blocks(path)
		}
		return nil
	})
	return left
}

func blocks(file string) int64 {
	var found syscall.Stat_t
	if syscall.Stat(file, &found) != nil {
		return 0
	}
	return found.Blocks * 512
}

// allocated is what the disk with this descriptor takes.
func allocated(file string) int64 { return blocks(flat(file)) }

// tellRoom tells how much is left where a test gave a size.
func tellRoom() {
	for ref, size := range sizes {
		if store, ok := simulator.Map.Get(ref).(*simulator.Datastore); ok {
			simulator.Map.Update(store, []types.PropertyChange{
				{Name: "summary.capacity", Val: size}, {Name: "summary.freeSpace", Val: free(store)},
			})
		}
	}
}

var capacity = regexp.MustCompile(`(?m)^RW ([0-9]+) VMFS`)

// detail fills in what a search says of disks: how large they are, and what they take.
func detail(task *simulator.Task) {
	var found []types.HostDatastoreBrowserSearchResults
	switch result := task.Info.Result.(type) {
	case types.HostDatastoreBrowserSearchResults:
		found = []types.HostDatastoreBrowserSearchResults{result}
	case types.ArrayOfHostDatastoreBrowserSearchResults:
		found = result.HostDatastoreBrowserSearchResults
	}
	for _, folder := range found {
		for _, each := range folder.File {
			disk, ok := each.(*types.VmDiskFileInfo)
			if !ok {
				continue
			}
			file := filepath.Join(local(folder.FolderPath), disk.Path)
			text, _ := os.ReadFile(file)
			if sectors := capacity.FindSubmatch(text); sectors != nil {
				number, _ := strconv.ParseInt(string(sectors[1]), 10, 64)
				disk.CapacityKb, disk.FileSize = number/2, allocated(file)
				disk.Thin = types.NewBool(bytes.Contains(text, []byte("ddb.thinProvisioned")))
			}
		}
	}
}

// steerDatastore does to a datastore what happens to one: name=NAME and do=size&bytes=N,
// inaccessible, accessible, readonly, writable, do=rename&to=NAME, do=type&to=vsan. The library itself does not mind any of it;
// -strict does.
func steerDatastore(world *sync.RWMutex, query url.Values) error {
	world.Lock()
	defer world.Unlock()
	store := datastore(query.Get("name"))
	if store == nil {
		return fmt.Errorf("no datastore %q", query.Get("name"))
	}
	set := func(name string, value interface{}) {
		simulator.Map.Update(store, []types.PropertyChange{{Name: name, Val: value}})
	}
	to := query.Get("to")
	switch do := query.Get("do"); do {
	case "size":
		size, err := strconv.ParseInt(query.Get("bytes"), 10, 64)
		if err != nil {
			return err
		}
		sizes[store.Self] = size
		tellRoom()
	case "accessible", "inaccessible":
		set("summary.accessible", do == "accessible")
	case "readonly", "writable":
		for i := range store.Host {
			store.Host[i].MountInfo.AccessMode = map[string]string{"readonly": "readOnly", "writable": "readWrite"}[do]
		}
	case "rename":
		renamePaths("["+store.Name+"]", "["+to+"]")
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

// renamePaths changes what machines say of their files.
func renamePaths(old, to string) {
	set := func(path *string) {
		if strings.HasPrefix(*path, old) {
			*path = to + (*path)[len(old):]
		}
	}
	for _, entity := range simulator.Map.All("VirtualMachine") {
		vm := entity.(*simulator.VirtualMachine)
		for _, backing := range backings(vm) {
			for ; backing != nil; backing = backing.Parent {
				set(&backing.FileName)
			}
		}
		for i := range vm.LayoutEx.File {
			set(&vm.LayoutEx.File[i].Name)
		}
		files := &vm.Config.Files
		for _, path := range []*string{&files.VmPathName, &files.LogDirectory, &files.SnapshotDirectory, &files.SuspendDirectory} {
			set(path)
		}
		set(&vm.Summary.Config.VmPathName)
	}
}

// serveFolder gives and takes the files of datastores, as /folder/PATH?dcPath=NAME&dsName=NAME. The library's own wants no
// session, takes a bracket in a name for a pattern, and makes the folders that are missing. PUT, GET, HEAD.
func (t *world) serveFolder(w http.ResponseWriter, r *http.Request) {
	asked := httptest.NewRecorder()
	probe := httptest.NewRequest(http.MethodPost, "/sdk", strings.NewReader(head+
		`<CurrentTime xmlns="urn:vim25"><_this type="ServiceInstance">ServiceInstance</_this></CurrentTime>`+tail))
	probe.Header["Cookie"] = r.Header["Cookie"]
	t.next.ServeHTTP(asked, probe)
	if asked.Code != http.StatusOK {
		http.Error(w, "no session", http.StatusUnauthorized)
		return
	}
	t.Lock()
	defer t.Unlock()
	query := r.URL.Query()
	store := datastore(query.Get("dsName"))
	center := simulator.Map.Any("Datacenter").(*simulator.Datacenter)
	if store == nil || query.Get("dcPath") != center.Name {
		http.Error(w, "no such datastore", http.StatusNotFound)
		return
	}
	if t.strict && !store.Summary.Accessible {
		http.Error(w, "the datastore is not accessible", http.StatusInternalServerError)
		return
	}
	file := filepath.Join(store.Info.GetDatastoreInfo().Url, filepath.Clean("/"+strings.TrimPrefix(r.URL.Path, "/folder/")))
	var err error
	if r.Method == http.MethodPut {
		if t.strict && (noRoom("["+store.Name+"] x", 4096) != nil || store.Host[0].MountInfo.AccessMode == "readOnly") {
			http.Error(w, "it cannot be written", http.StatusInternalServerError)
			return
		}
		var content []byte
		// What comes short of its length is not kept.
		if content, err = io.ReadAll(r.Body); err == nil {
			err = os.WriteFile(file, content, 0o600)
		}
		if err == nil {
			w.WriteHeader(http.StatusCreated)
		}
	} else {
		var content []byte
		if content, err = os.ReadFile(file); err == nil {
			_, _ = w.Write(content)
		}
	}
	switch {
	case os.IsNotExist(err):
		http.Error(w, "no such file", http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
