package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// world stands between the wire and the library. uuids: device lists name each disk's identity, from the moment at which the
// disk is in it. strict: what ESXi refuses and the library does not. Each of it is from the documentation of the API and from
// what others met; it says nothing of a real server.
type world struct {
	sync.RWMutex
	uuids, strict bool
	rules         *rules
	next          http.Handler
}

func (t *world) serve(w http.ResponseWriter, r *http.Request, name string, body []byte) {
	switch {
	case !t.uuids && !t.strict && name != "ReconfigVM_Task":
		t.next.ServeHTTP(w, r)
	case name == "RetrieveProperties" || name == "RetrievePropertiesEx":
		t.RLock()
		defer t.RUnlock()
		t.next.ServeHTTP(w, r)
	case strings.HasSuffix(name, "_Task") || strings.HasSuffix(name, "Directory") || strings.HasSuffix(name, "VirtualDiskUuid"):
		t.Lock()
		defer t.Unlock()
		t.change(w, r, name, body)
	default:
		t.next.ServeHTTP(w, r)
	}
}

func (t *world) change(w http.ResponseWriter, r *http.Request, name string, body []byte) {
	call, err := simulator.UnmarshalBody(types.TypeFunc(), body)
	if err == nil && t.strict {
		if made, ok := call.Body.(*types.CreateDirectory); ok {
			createDirectory(w, made)
			return
		}
		if fault := t.refuse(call, body); fault != nil {
			if strings.HasSuffix(name, "_Task") {
				answerTask(w, name, failed(call.This, name, fault))
			} else {
				answerFault(w, fault)
			}
			return
		}
	}
	answer := httptest.NewRecorder()
	t.next.ServeHTTP(answer, r)
	if err == nil && t.strict {
		then(call, answer.Body.Bytes())
	}
	if err == nil && t.uuids && name == "ReconfigVM_Task" {
		tell(call.This)
	}
	if req, ok := callBody(call); ok && err == nil {
		if task := taskIn(answer.Body.Bytes()); task != nil && task.Info.Error == nil {
			noteProfiles(call.This, &req.Spec)
		}
	}
	for key, values := range answer.Header() {
		w.Header()[key] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

func callBody(call *simulator.Method) (*types.ReconfigVM_Task, bool) {
	if call == nil {
		return nil, false
	}
	req, ok := call.Body.(*types.ReconfigVM_Task)
	return req, ok
}

// refuse gives the fault that ESXi has for the call.
func (t *world) refuse(call *simulator.Method, body []byte) types.BaseMethodFault {
	for _, entity := range simulator.Map.All("Datastore") {
		store := entity.(*simulator.Datastore)
		if !store.Summary.Accessible && strings.Contains(string(body), "["+escaped(store.Name)+"]") {
			return &types.InaccessibleDatastore{InvalidDatastore: types.InvalidDatastore{Name: store.Name}}
		}
	}
	switch req := call.Body.(type) {
	case *types.CreateVirtualDisk_Task:
		spec, ok := req.Spec.(*types.FileBackedVirtualDiskSpec)
		if !ok || spec.CapacityKb <= 0 || !strings.Contains(formats, " "+spec.DiskType+" ") {
			return &types.InvalidArgument{InvalidProperty: "spec"}
		}
		return noRoom(req.Name, thickness(req.Spec))
	case *types.PowerOnVM_Task:
		return lockedDisk(call.This)
	case *types.CopyVirtualDisk_Task:
		if fault := locked(req.SourceName); fault != nil {
			return fault
		}
		return noRoom(req.DestName, allocated(local(req.SourceName)))
	case *types.MoveVirtualDisk_Task:
		return locked(req.SourceName)
	case *types.DeleteVirtualDisk_Task:
		return locked(req.Name)
	case *types.ExtendVirtualDisk_Task:
		if fault := locked(req.Name); fault != nil {
			return fault
		}
		return noRoomToGrow(req.Name, req.NewCapacityKb<<10)
	case *types.MakeDirectory:
		if _, err := os.Stat(local(req.Name)); err == nil {
			return &types.FileAlreadyExists{FileFault: types.FileFault{File: req.Name}}
		}
		return noTopFolder(req.Name)
	case *types.ReconfigVM_Task:
		return t.refuseReconfigure(call.This, &req.Spec)
	}
	return nil
}

func escaped(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)
}

// then does what ESXi does and the library does not, once the library has done its part.
func then(call *simulator.Method, answer []byte) {
	task := taskIn(answer)
	if task == nil || task.Info.Error != nil {
		return
	}
	switch req := call.Body.(type) {
	case *types.CreateVirtualDisk_Task:
		if size := thickness(req.Spec); size > 1<<20 {
			if f, err := os.OpenFile(flat(local(req.Name)), os.O_RDWR, 0); err == nil {
				_ = syscall.Fallocate(int(f.Fd()), 0, 0, size)
				f.Close()
			}
		}
	case *types.ExtendVirtualDisk_Task:
		thicken(local(req.Name))
	case *types.ReconfigVM_Task:
		for _, each := range req.Spec.DeviceChange {
			if disk, path := edited(each); disk != nil {
				_ = enlarge(local(path), bytesOf(disk))
				thicken(local(path))
			}
		}
		newVersion(call.This)
	case *types.SearchDatastore_Task, *types.SearchDatastoreSubFolders_Task:
		detail(task)
	}
	tellRoom()
}

// thickness is what a new disk takes at once; a thin one a block of the file system.
func thickness(spec types.BaseVirtualDiskSpec) int64 {
	if made, ok := spec.(*types.FileBackedVirtualDiskSpec); ok && made.DiskType != "thin" {
		return made.CapacityKb << 10
	}
	return 1 << 20
}

func noRoom(path string, needed int64) types.BaseMethodFault {
	store := storeOf(path)
	if store == nil {
		return nil
	}
	if _, sized := sizes[store.Self]; sized && free(store) < needed {
		return &types.NoDiskSpace{FileFault: types.FileFault{File: path}, Datastore: store.Name}
	}
	return nil
}

// locked: a disk in the device list of a machine that is not off is open.
func locked(path string) types.BaseMethodFault {
	if holder(path, nil) != nil {
		return &types.FileLocked{FileFault: types.FileFault{File: path}}
	}
	return nil
}

func holder(path string, but *simulator.VirtualMachine) *simulator.VirtualMachine {
	for _, entity := range simulator.Map.All("VirtualMachine") {
		vm := entity.(*simulator.VirtualMachine)
		if vm == but || vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOff {
			continue
		}
		for _, backing := range backings(vm) {
			for ; backing != nil; backing = backing.Parent {
				if local(backing.FileName) == local(path) {
					return vm
				}
			}
		}
	}
	return nil
}

// lockedDisk: a machine does not start with a disk that another one has.
func lockedDisk(ref types.ManagedObjectReference) types.BaseMethodFault {
	vm, ok := simulator.Map.Get(ref).(*simulator.VirtualMachine)
	if !ok {
		return nil
	}
	for _, backing := range backings(vm) {
		if holder(backing.FileName, vm) != nil {
			return &types.FileLocked{FileFault: types.FileFault{File: backing.FileName}}
		}
	}
	return nil
}

// noTopFolder: on vSAN the top folders are objects, which only the namespace manager makes.
func noTopFolder(path string) types.BaseMethodFault {
	if store := storeOf(path); store != nil && store.Summary.Type == "vsan" {
		above := filepath.Dir(local(path))
		if _, err := os.Stat(above); err != nil || above == store.Info.GetDatastoreInfo().Url {
			return &types.CannotCreateFile{FileFault: types.FileFault{File: path}}
		}
	}
	return nil
}

func createDirectory(w http.ResponseWriter, req *types.CreateDirectory) {
	store, ok := simulator.Map.Get(req.Datastore).(*simulator.Datastore)
	if !ok {
		answerFault(w, &types.ManagedObjectNotFound{Obj: req.Datastore})
		return
	}
	made := filepath.Join(store.Info.GetDatastoreInfo().Url, req.DisplayName)
	if err := os.Mkdir(made, 0o700); err != nil {
		answerFault(w, &types.FileAlreadyExists{FileFault: types.FileFault{File: req.DisplayName}})
		return
	}
	const form = `<CreateDirectoryResponse xmlns="urn:vim25"><returnval>%s</returnval></CreateDirectoryResponse>`
	fmt.Fprintf(w, head+form+tail, escaped(made))
}

// refuseReconfigure has no mind for what is none of ours: only for the state, the version, disks and controllers.
func (t *world) refuseReconfigure(
	ref types.ManagedObjectReference, spec *types.VirtualMachineConfigSpec,
) types.BaseMethodFault {
	vm, ok := simulator.Map.Get(ref).(*simulator.VirtualMachine)
	switch {
	case !ok:
		return nil
	case vm.Runtime.ConnectionState != types.VirtualMachineConnectionStateConnected:
		return new(types.HostNotConnected)
	case t.rules.isBusy(ref):
		return &types.TaskInProgress{Task: types.ManagedObjectReference{Type: "Task", Value: "task-of-another"}}
	case spec.ChangeVersion != "" && spec.ChangeVersion != vm.Config.ChangeVersion:
		return new(types.ConcurrentAccess)
	}
	controllers, keys, taken := map[int32]bool{}, map[int32]bool{}, map[[2]int32]bool{}
	buses := 0
	note := func(device types.BaseVirtualDevice) {
		d := device.GetVirtualDevice()
		keys[d.Key] = true
		if _, ok := device.(types.BaseVirtualSCSIController); ok {
			controllers[d.Key] = true
			buses++
		}
		if _, ok := device.(*types.VirtualDisk); ok && d.UnitNumber != nil {
			taken[[2]int32{d.ControllerKey, *d.UnitNumber}] = true
		}
	}
	for _, device := range vm.Config.Hardware.Device {
		note(device)
	}
	for i, each := range spec.DeviceChange {
		change := each.GetVirtualDeviceConfigSpec()
		d := change.Device.GetVirtualDevice()
		bad := &types.InvalidDeviceSpec{DeviceIndex: int32(i)}
		disk, isDisk := change.Device.(*types.VirtualDisk)
		_, isController := change.Device.(types.BaseVirtualSCSIController)
		if fault := refuseProfile(change); fault != nil {
			return fault
		}
		switch {
		case change.Operation != types.VirtualDeviceConfigSpecOperationAdd:
			if !keys[d.Key] {
				return bad
			}
			if isDisk && inSnapshot(vm, d.Key) {
				return new(types.GenericVmConfigFault)
			}
			if disk, path := edited(each); disk != nil {
				if bytesOf(disk) < size(local(path)) {
					return bad
				}
				if fault := noRoomToGrow(path, bytesOf(disk)); fault != nil {
					return fault
				}
			}
			if change.Operation == types.VirtualDeviceConfigSpecOperationRemove && isDisk && d.UnitNumber != nil {
				delete(taken, [2]int32{d.ControllerKey, *d.UnitNumber})
			}
		case isController:
			if buses == 4 {
				return new(types.TooManyDevices)
			}
			note(change.Device)
		case isDisk:
			backing, flat := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
			if flat && !strings.Contains(modes, " "+backing.DiskMode+" ") {
				return bad
			}
			if d.UnitNumber == nil || *d.UnitNumber == 7 || *d.UnitNumber > 15 || !controllers[d.ControllerKey] ||
				taken[[2]int32{d.ControllerKey, *d.UnitNumber}] {
				return bad
			}
			if flat && (holder(backing.FileName, nil) != nil) {
				return &types.FileLocked{FileFault: types.FileFault{File: backing.FileName}}
			}
			note(change.Device)
		}
	}
	return nil
}

// inSnapshot: what the machine has of the disk is a child, whose parent belongs to a snapshot.
func inSnapshot(vm *simulator.VirtualMachine, key int32) bool {
	for _, device := range vm.Config.Hardware.Device {
		backing, ok := device.GetVirtualDevice().Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		if ok && device.GetVirtualDevice().Key == key {
			return backing.Parent != nil
		}
	}
	return false
}

// edited is the disk that a change makes another of, with its path.
func edited(each types.BaseVirtualDeviceConfigSpec) (*types.VirtualDisk, string) {
	change := each.GetVirtualDeviceConfigSpec()
	disk, ok := change.Device.(*types.VirtualDisk)
	if !ok || change.Operation != types.VirtualDeviceConfigSpecOperationEdit {
		return nil, ""
	}
	backing, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	if !ok {
		return nil, ""
	}
	return disk, backing.FileName
}

func bytesOf(disk *types.VirtualDisk) int64 {
	if disk.CapacityInBytes != 0 {
		return disk.CapacityInBytes
	}
	return disk.CapacityInKB << 10
}

// noRoomToGrow: a thin disk takes nothing yet, a block of the file system apart.
func noRoomToGrow(path string, bytes int64) types.BaseMethodFault {
	if isThin(local(path)) {
		return noRoom(path, 1<<20)
	}
	return noRoom(path, bytes-size(local(path)))
}

func thicken(file string) {
	if isThin(file) {
		return
	}
	if f, err := os.OpenFile(flat(file), os.O_RDWR, 0); err == nil {
		_ = syscall.Fallocate(int(f.Fd()), 0, 0, size(file))
		f.Close()
	}
}

func isThin(file string) bool {
	text, _ := os.ReadFile(file)
	return strings.Contains(string(text), "ddb.thinProvisioned")
}

// What types.VirtualDiskType has of files on VMFS.
const formats = " thin preallocated eagerZeroedThick thick "

// What types.VirtualDiskMode has; a VMDK knows no read-only mode.
const modes = " persistent nonpersistent undoable independent_persistent independent_nonpersistent append "

// newVersion marks the machine's configuration as another one.
func newVersion(ref types.ManagedObjectReference) {
	if vm, ok := simulator.Map.Get(ref).(*simulator.VirtualMachine); ok {
		number, _ := strconv.Atoi(vm.Config.ChangeVersion)
		simulator.Map.Update(vm, []types.PropertyChange{{Name: "config.changeVersion", Val: strconv.Itoa(number + 1)}})
	}
}
