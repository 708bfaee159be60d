package main

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/pbm/methods"
	pbm "github.com/vmware/govmomi/pbm/simulator"
	"github.com/vmware/govmomi/pbm/types"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"
	vim "github.com/vmware/govmomi/vim25/types"
)

// associated is what vCenter knows of policies and disks, which the library does not: which one a machine's disk is under, by
// "machine:device key", and how it stands to it. It comes with a reconfigure that names a profile and goes with the disk. A
// disk that no machine has is in none of it, as the API has no name for one that is a file alone.
var associated = struct {
	sync.Mutex
	profile, status map[string]string
}{profile: map[string]string{}, status: map[string]string{}}

// Of a vSAN datastore; the others have none. The library's id of "vSAN Default Storage Policy".
const ofVsan = "aa6d5a82-1c88-45da-85d3-3d74b91a5bad"

// What one call takes; of more the API's documentation promises nothing.
const mostEntities = 1000

func serveAssociations(registry *simulator.Registry) {
	manager := vim.ManagedObjectReference{Type: "PbmProfileProfileManager", Value: "ProfileManager"}
	registry.Put(&associations{registry.Get(manager).(*pbm.ProfileManager)})
	registry.Put(&compliance{vim.ManagedObjectReference{Type: "PbmComplianceManager", Value: "complianceManager"}})
	knows = func(id string) bool {
		asked := types.PbmRetrieveContent{ProfileIds: []types.PbmProfileId{{UniqueId: id}}}
		return registry.Get(manager).(*associations).PbmRetrieveContent(&asked).Fault() == nil
	}
}

// knows tells whether there is a policy of this id; an ESXi host has none.
var knows = func(string) bool { return false }

// unfit is what is said to a question about so many disks, nil if it may be asked.
func unfit(entities int) *soap.Fault {
	if entities > 0 && entities <= mostEntities {
		return nil
	}
	return simulator.Fault("", &vim.InvalidArgument{InvalidProperty: "entities"})
}

type associations struct{ *pbm.ProfileManager }

func (m *associations) PbmQueryAssociatedProfiles(ask *types.PbmQueryAssociatedProfiles) soap.HasFault {
	body := new(methods.PbmQueryAssociatedProfilesBody)
	if body.Fault_ = unfit(len(ask.Entities)); body.Fault_ != nil {
		return body
	}
	body.Res = new(types.PbmQueryAssociatedProfilesResponse)
	associated.Lock()
	defer associated.Unlock()
	for _, each := range ask.Entities {
		found := types.PbmQueryProfileResult{Object: each}
		if !isDisk(each) || associated.status[each.Key] == "gone" {
			found.Fault = &vim.LocalizedMethodFault{
				Fault: &vim.InvalidArgument{InvalidProperty: "entity"}, LocalizedMessage: "no such disk",
			}
		} else if id := associated.profile[each.Key]; id != "" {
			found.ProfileId = []types.PbmProfileId{{UniqueId: id}}
		}
		body.Res.Returnval = append(body.Res.Returnval, found)
	}
	return body
}

func (m *associations) PbmQueryDefaultRequirementProfile(ask *types.PbmQueryDefaultRequirementProfile) soap.HasFault {
	body := &methods.PbmQueryDefaultRequirementProfileBody{Res: new(types.PbmQueryDefaultRequirementProfileResponse)}
	if id := usual(vim.ManagedObjectReference{Type: "Datastore", Value: ask.Hub.HubId}); id != "" {
		body.Res.Returnval = &types.PbmProfileId{UniqueId: id}
	}
	return body
}

type compliance struct{ vim.ManagedObjectReference }

// What is not in the inventory is left out, and so is what has no policy.
func (m *compliance) PbmFetchComplianceResult(ask *types.PbmFetchComplianceResult) soap.HasFault {
	body := new(methods.PbmFetchComplianceResultBody)
	if body.Fault_ = unfit(len(ask.Entities)); body.Fault_ != nil {
		return body
	}
	body.Res = new(types.PbmFetchComplianceResultResponse)
	associated.Lock()
	defer associated.Unlock()
	for _, each := range ask.Entities {
		id, status := associated.profile[each.Key], associated.status[each.Key]
		if id == "" || status == "none" || !isDisk(each) {
			continue
		}
		if status == "" {
			status = "compliant"
		}
		found := types.PbmComplianceResult{
			CheckTime: time.Now(), Entity: each, Profile: &types.PbmProfileId{UniqueId: id}, ComplianceStatus: status,
		}
		if status == "nonCompliant" {
			unique := types.PbmCapabilityMetadataUniqueId{Namespace: "VSAN", Id: "hostFailuresToTolerate"}
			found.ViolatedPolicies = []types.PbmCompliancePolicyStatus{
				{ExpectedValue: types.PbmCapabilityInstance{Id: unique, Constraint: []types.PbmCapabilityConstraintInstance{}}},
			}
		}
		body.Res.Returnval = append(body.Res.Returnval, found)
	}
	return body
}

func isDisk(ref types.PbmServerObjectRef) bool {
	id, key, _ := strings.Cut(ref.Key, ":")
	vm, ok := simulator.Map.Get(vim.ManagedObjectReference{Type: "VirtualMachine", Value: id}).(*simulator.VirtualMachine)
	if !ok || ref.ObjectType != "virtualDiskId" {
		return false
	}
	for _, device := range vm.Config.Hardware.Device {
		if _, disk := device.(*vim.VirtualDisk); disk && strconv.Itoa(int(device.GetVirtualDevice().Key)) == key {
			return true
		}
	}
	return false
}

// usual is the policy of a disk of which none is asked for.
func usual(ref vim.ManagedObjectReference) string {
	if store, ok := simulator.Map.Get(ref).(*simulator.Datastore); ok && store.Summary.Type == "vsan" {
		return ofVsan
	}
	return ""
}

// noteProfiles: a reconfigure was carried out.
func noteProfiles(ref vim.ManagedObjectReference, spec *vim.VirtualMachineConfigSpec) {
	vm, ok := simulator.Map.Get(ref).(*simulator.VirtualMachine)
	if !ok {
		return
	}
	associated.Lock()
	defer associated.Unlock()
	for _, each := range spec.DeviceChange {
		change := each.GetVirtualDeviceConfigSpec()
		disk, isDisk := change.Device.(*vim.VirtualDisk)
		if !isDisk {
			continue
		}
		if change.Operation == vim.VirtualDeviceConfigSpecOperationRemove {
			forget(keyOf(vm, disk.Key))
			continue
		}
		backing, isFlat := disk.Backing.(*vim.VirtualDiskFlatVer2BackingInfo)
		if !isFlat {
			continue
		}
		if change.Operation == vim.VirtualDeviceConfigSpecOperationAdd {
			forget(keyAt(vm, backing.FileName))
		}
		for _, profile := range change.Profile {
			put(keyAt(vm, backing.FileName), profile, backing.FileName)
		}
	}
}

func put(key string, profile vim.BaseVirtualMachineProfileSpec, path string) {
	forget(key)
	id := ""
	switch profile := profile.(type) {
	case *vim.VirtualMachineDefinedProfileSpec:
		id = profile.ProfileId
	case *vim.VirtualMachineDefaultProfileSpec:
		if store := storeOf(path); store != nil {
			id = usual(store.Self)
		}
	}
	if id != "" {
		associated.profile[key] = id
	}
}

func forget(key string) {
	delete(associated.profile, key)
	delete(associated.status, key)
}

func keyOf(vm *simulator.VirtualMachine, key int32) string {
	return fmt.Sprintf("%s:%d", vm.Self.Value, key)
}

func keyAt(vm *simulator.VirtualMachine, path string) string {
	for _, device := range vm.Config.Hardware.Device {
		if backing, ok := device.GetVirtualDevice().Backing.(*vim.VirtualDiskFlatVer2BackingInfo); ok && backing.FileName == path {
			return keyOf(vm, device.GetVirtualDevice().Key)
		}
	}
	return ""
}

// refuseProfile: a policy that there is not, or that the disk's datastore cannot satisfy, is not laid on.
func refuseProfile(change *vim.VirtualDeviceConfigSpec) vim.BaseMethodFault {
	for _, each := range change.Profile {
		defined, ok := each.(*vim.VirtualMachineDefinedProfileSpec)
		if ok && defined.ProfileId == unsatisfied {
			return &vim.InvalidVmConfig{Property: "profile"}
		}
		if ok && !knows(defined.ProfileId) {
			return &vim.InvalidArgument{InvalidProperty: "profile"}
		}
	}
	return nil
}

// steerPolicy does what vCenter does of itself, or somebody in its client: vm=ID, path=PATH and do=lay&to=ID (none: no
// policy) or do=stand&to=STATUS, one of the API's; "none": it was never looked at, "gone": the disk is not known there.
func steerPolicy(world *sync.RWMutex, query url.Values) error {
	world.Lock()
	defer world.Unlock()
	ref := vim.ManagedObjectReference{Type: "VirtualMachine", Value: query.Get("vm")}
	vm, ok := simulator.Map.Get(ref).(*simulator.VirtualMachine)
	if !ok || keyAt(vm, query.Get("path")) == "" {
		return fmt.Errorf("%q has no disk %q", ref.Value, query.Get("path"))
	}
	key := keyAt(vm, query.Get("path"))
	associated.Lock()
	defer associated.Unlock()
	switch query.Get("do") {
	case "lay":
		put(key, &vim.VirtualMachineDefinedProfileSpec{ProfileId: query.Get("to")}, "")
	case "stand":
		associated.status[key] = query.Get("to")
	default:
		return fmt.Errorf("do=%s", query.Get("do"))
	}
	return nil
}
