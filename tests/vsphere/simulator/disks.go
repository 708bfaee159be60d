package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// disks makes of the library's empty files real disks: a descriptor with the identity, which Set stores and Query tells, and a
// sparse extent of the size asked for, so that a loop device can have it. A copy has another identity, as vmkfstools makes it.
// All else, and every fault of a path, is the library's.
//
// The library's is embedded as a value: its search for a machine by UUID digs into the first field of every object.
type disks struct {
	simulator.VirtualDiskManager
}

func keepDisks() {
	inner := simulator.Map.VirtualDiskManager().(*simulator.VirtualDiskManager)
	simulator.Map.Put(&disks{*inner})
}

var (
	identity = regexp.MustCompile(`(?m)^ddb\.uuid = "([^"]*)"\n`)
	// Eight pairs, a dash, eight pairs: VMware's own spelling.
	spelling = regexp.MustCompile(`^[0-9A-Fa-f]{2}( [0-9A-Fa-f]{2}){7}-[0-9A-Fa-f]{2}( [0-9A-Fa-f]{2}){7}$`)
	extent   = regexp.MustCompile(`(?m)^(RW [0-9]+ VMFS) "[^"]*"$`)
)

// work is a task of the disk manager: what the library does, then what it leaves out.
func (d *disks) work(name string, library func() types.ManagedObjectReference, then func() error) types.ManagedObjectReference {
	return simulator.CreateTask(d, name, func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		info := simulator.Map.Get(library()).(*simulator.Task).Info
		if info.Error != nil {
			return nil, info.Error.Fault
		}
		if err := then(); err != nil {
			return nil, &types.CannotCreateFile{FileFault: types.FileFault{File: err.Error()}}
		}
		return info.Result, nil
	}).Run()
}

func (d *disks) CreateVirtualDiskTask(c *simulator.Context, req *types.CreateVirtualDisk_Task) soap.HasFault {
	library := func() types.ManagedObjectReference {
		return d.VirtualDiskManager.CreateVirtualDiskTask(c, req).(*methods.CreateVirtualDisk_TaskBody).Res.Returnval
	}
	done := d.work("createVirtualDisk", library, func() error {
		spec, ok := req.Spec.(*types.FileBackedVirtualDiskSpec)
		if !ok {
			return nil
		}
		file := local(req.Name)
		size := spec.CapacityKb << 10
		if err := os.Truncate(flat(file), size); err != nil {
			_ = os.Remove(file)
			_ = os.Remove(flat(file))
			return err
		}
		return os.WriteFile(file, descriptor(file, size, spec.DiskType == "thin"), 0o600)
	})
	return &methods.CreateVirtualDisk_TaskBody{Res: &types.CreateVirtualDisk_TaskResponse{Returnval: done}}
}

func (d *disks) CopyVirtualDiskTask(c *simulator.Context, req *types.CopyVirtualDisk_Task) soap.HasFault {
	library := func() types.ManagedObjectReference {
		return d.VirtualDiskManager.CopyVirtualDiskTask(c, req).(*methods.CopyVirtualDisk_TaskBody).Res.Returnval
	}
	done := d.work("copyVirtualDisk", library, func() error {
		file := local(req.DestName)
		if err := moved(file); err != nil {
			return err
		}
		_ = d.set(file, newIdentity())
		return dig(flat(file))
	})
	return &methods.CopyVirtualDisk_TaskBody{Res: &types.CopyVirtualDisk_TaskResponse{Returnval: done}}
}

func (d *disks) MoveVirtualDiskTask(c *simulator.Context, req *types.MoveVirtualDisk_Task) soap.HasFault {
	library := func() types.ManagedObjectReference {
		return d.VirtualDiskManager.MoveVirtualDiskTask(c, req).(*methods.MoveVirtualDisk_TaskBody).Res.Returnval
	}
	done := d.work("moveVirtualDisk", library, func() error { return moved(local(req.DestName)) })
	return &methods.MoveVirtualDisk_TaskBody{Res: &types.MoveVirtualDisk_TaskResponse{Returnval: done}}
}

// ExtendVirtualDiskTask is not in the library. A disk that is not there, or would be smaller, is refused with ESXi's faults.
func (d *disks) ExtendVirtualDiskTask(c *simulator.Context, req *types.ExtendVirtualDisk_Task) soap.HasFault {
	done := simulator.CreateTask(d, "extendVirtualDisk", func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		asked := types.QueryVirtualDiskUuid{This: req.This, Name: req.Name, Datacenter: req.Datacenter}
		if found := d.QueryVirtualDiskUuid(c, &asked); found.Fault() != nil {
			return nil, found.Fault().Detail.Fault.(types.BaseMethodFault)
		}
		if req.NewCapacityKb<<10 < size(local(req.Name)) {
			return nil, &types.InvalidArgument{InvalidProperty: "newCapacityKb"}
		}
		if err := enlarge(local(req.Name), req.NewCapacityKb<<10); err != nil {
			return nil, &types.CannotAccessFile{FileFault: types.FileFault{File: err.Error()}}
		}
		return nil, nil
	}).Run()
	return &methods.ExtendVirtualDisk_TaskBody{Res: &types.ExtendVirtualDisk_TaskResponse{Returnval: done}}
}

var sectors = regexp.MustCompile(`(?m)^RW [0-9]+ VMFS`)

// enlarge: first the extent, then the descriptor, which says how large the disk is.
func enlarge(file string, bytes int64) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := os.Truncate(flat(file), bytes); err != nil {
		return err
	}
	return replace(file, sectors.ReplaceAll(text, []byte(fmt.Sprintf("RW %d VMFS", bytes>>9))))
}

// size is what the descriptor says; 0 for the empty files that the library makes for its own machines.
func size(file string) int64 {
	text, _ := os.ReadFile(file)
	if found := capacity.FindSubmatch(text); found != nil {
		number, _ := strconv.ParseInt(string(found[1]), 10, 64)
		return number << 9
	}
	return 0
}

func (d *disks) QueryVirtualDiskUuid(c *simulator.Context, req *types.QueryVirtualDiskUuid) soap.HasFault {
	answer := d.VirtualDiskManager.QueryVirtualDiskUuid(c, req).(*methods.QueryVirtualDiskUuidBody)
	if answer.Res != nil {
		if stored := stored(local(req.Name)); stored != "" {
			answer.Res.Returnval = stored
		}
	}
	return answer
}

func (d *disks) SetVirtualDiskUuid(c *simulator.Context, req *types.SetVirtualDiskUuid) soap.HasFault {
	body := new(methods.SetVirtualDiskUuidBody)
	asked := types.QueryVirtualDiskUuid{This: req.This, Name: req.Name, Datacenter: req.Datacenter}
	if found := d.QueryVirtualDiskUuid(c, &asked); found.Fault() != nil {
		body.Fault_ = found.Fault()
	} else if !spelling.MatchString(req.Uuid) {
		body.Fault_ = simulator.Fault("", &types.InvalidArgument{InvalidProperty: "uuid"})
	} else if err := d.set(local(req.Name), req.Uuid); err != nil {
		body.Fault_ = simulator.Fault(err.Error(), new(types.CannotAccessFile))
	} else {
		body.Res = new(types.SetVirtualDiskUuidResponse)
	}
	return body
}

func (d *disks) set(file, uuid string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return replace(file, append(identity.ReplaceAll(text, nil), fmt.Sprintf("ddb.uuid = %q\n", uuid)...))
}

// stored is the identity in a descriptor; nothing for the empty files that the library makes for its own machines.
func stored(file string) string {
	text, _ := os.ReadFile(file)
	if found := identity.FindSubmatch(text); found != nil {
		return string(found[1])
	}
	return ""
}

func newIdentity() string {
	made := make([]byte, 16)
	_, _ = rand.Read(made)
	copy(made, []byte{0x60, 0x00, 0xc2, 0x90 | made[3]&0xf})
	pairs := strings.Fields(fmt.Sprintf("% x", made))
	pairs[2] = "C2"
	return strings.Join(pairs[:8], " ") + "-" + strings.Join(pairs[8:], " ")
}

func descriptor(file string, size int64, thin bool) []byte {
	text := "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"vmfs\"\n\n"
	text += fmt.Sprintf("# Extent description\nRW %d VMFS %q\n\n", size>>9, filepath.Base(flat(file)))
	text += "# The Disk Data Base\n#DDB\n\n"
	text += "ddb.adapterType = \"lsilogic\"\nddb.virtualHWVersion = \"13\"\n"
	if thin {
		text += "ddb.thinProvisioned = \"1\"\n"
	}
	return []byte(text + fmt.Sprintf("ddb.uuid = %q\n", newIdentity()))
}

// moved names the extent that lies beside the descriptor now.
func moved(file string) error {
	text, err := os.ReadFile(file)
	if err != nil || len(text) == 0 {
		return err
	}
	return replace(file, extent.ReplaceAll(text, []byte(fmt.Sprintf("$1 %q", filepath.Base(flat(file))))))
}

// replace: a reader sees the old descriptor or the new one.
func replace(file string, content []byte) error {
	if err := os.WriteFile(file+"~", content, 0o600); err != nil {
		return err
	}
	return os.Rename(file+"~", file)
}

// dig gives the zeros back that the library copied.
func dig(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	const keepSizeAndPunch = 1 | 2
	block, zeros := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); ; {
		n, err := io.ReadFull(f, block)
		if n > 0 && bytes.Equal(block[:n], zeros[:n]) {
			// A file system that cannot do it keeps the zeros.
			_ = syscall.Fallocate(int(f.Fd()), keepSizeAndPunch, at, int64(n))
		}
		if at += int64(n); err != nil {
			return nil
		}
	}
}
