package main

import (
	"context"
	"fmt"
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

// tell writes the identities, and the sizes, into the machine's device list where they are missing.
func tell(ref types.ManagedObjectReference) {
	vm, ok := simulator.Map.Get(ref).(*simulator.VirtualMachine)
	if !ok {
		return
	}
	tellSizes(vm)
	for _, backing := range backings(vm) {
		if backing.Parent != nil || backing.Uuid != "" {
			continue
		}
		if digits := strings.NewReplacer(" ", "", "-", "").Replace(stored(local(backing.FileName))); len(digits) == 32 {
			backing.Uuid = strings.Join([]string{digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]}, "-")
		}
	}
}

// tellSizes: a disk that was added as it lay there has the size that its descriptor says.
func tellSizes(vm *simulator.VirtualMachine) {
	for _, device := range vm.Config.Hardware.Device {
		disk, ok := device.(*types.VirtualDisk)
		if !ok || bytesOf(disk) != 0 {
			continue
		}
		if backing, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
			disk.CapacityInBytes = size(local(backing.FileName))
			disk.CapacityInKB = disk.CapacityInBytes >> 10
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
// disconnected, inaccessible, orphaned or invalid, do=rename&to=NAME, do=identity&to=UUID, do=host (to the next one),
// do=move&from=PATH&to=PATH (Storage vMotion of one disk), do=snapshot&to=NAME (dependent disks get a delta child),
// do=consolidate (and lose it again).
func steerMachine(world *sync.RWMutex, service soap.RoundTripper, query url.Values) error {
	world.Lock()
	defer world.Unlock()
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
	case "identity":
		set("config.instanceUuid", query.Get("to"))
		set("summary.config.instanceUuid", query.Get("to"))
	case "host":
		for _, other := range simulator.Map.All("HostSystem") {
			if other.Reference() != *vm.Runtime.Host {
				to := other.Reference()
				set("runtime.host", &to)
				set("summary.runtime.host", &to)
				break
			}
		}
	case "snapshot":
		made := types.CreateSnapshot_Task{This: ref, Name: query.Get("to")}
		if _, err = methods.CreateSnapshot_Task(none, service, &made); err == nil {
			err = branch(vm)
		}
	case "consolidate":
		if _, err = methods.RemoveAllSnapshots_Task(none, service, &types.RemoveAllSnapshots_Task{This: ref}); err == nil {
			for _, backing := range backings(vm) {
				if backing.Parent != nil {
					_ = os.Remove(local(backing.FileName))
					backing.FileName, backing.Parent = backing.Parent.FileName, nil
				}
			}
		}
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
			name, _, _ := strings.Cut(to[1:], "] ")
			if store := datastore(name); store != nil {
				backing.Datastore = &store.Self
			}
			return moved(local(to))
		}
	}
	return fmt.Errorf("%s has no disk %s", vm.Name, from)
}

// branch makes a delta child of each disk that takes part in snapshots: the child is what the machine has then.
func branch(vm *simulator.VirtualMachine) error {
	for _, backing := range backings(vm) {
		if backing.DiskMode == string(types.VirtualDiskModePersistent) {
			parent := *backing
			child := strings.TrimSuffix(backing.FileName, ".vmdk") + "-000001.vmdk"
			if err := os.WriteFile(local(child), nil, 0o600); err != nil {
				return err
			}
			backing.FileName, backing.Parent, backing.Uuid = child, &parent, parent.Uuid
		}
	}
	return nil
}
