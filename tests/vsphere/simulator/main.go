// A vCenter or an ESXi host for the tests: govmomi's simulator library behind TLS, with what our tests must see and do.
//
//	simulator -model vcenter|esxi [-listen 127.0.0.1:0] [-machines N] [-pair FILE] [-uuids] [-strict]
//	simulator -certificates
//
// The first writes one line of JSON (url, ca, cert, key, pid) when it serves, and ends with SIGTERM or with its standard
// input: a test process that died takes its simulator along. The account is vmdkvol@vsphere.local, the password is in the
// environment variable SIMULATOR_PASSWORD: an account of a simulator, made up anew by each run of the tests.
// The second writes certificates for servers that are no simulator.
//
// Without flags it is the library's own lenient world with these exceptions, without which nothing of ours can be tried on it:
// an identity that was set is told again and a copy has another one, a disk that was created has a descriptor and a sparse
// extent (disks.go), and /folder wants a session and takes any
// name (datastores.go), a datastore's may have a ']' (brackets.go). -uuids: device lists name the identities,
// as ESXi's do and the library's do not. -strict: locks, units, versions, room, states and policies are minded (strict.go).
// Which policy a machine's disk is under, and how it stands to it, is ours too (profiles.go). /ctl/... is what a test does to
// it while it runs.
package main

import (
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

const account = "vmdkvol@vsphere.local"

func main() {
	model := flag.String("model", "vcenter", "vcenter or esxi")
	listen := flag.String("listen", "127.0.0.1:0", "address; port 0 takes a free one")
	machines := flag.Int("machines", 2, "virtual machines in each resource pool")
	pair := flag.String("pair", "", "PEM file with certificate and key; made anew without")
	uuids := flag.Bool("uuids", false, "tell backing.uuid in device lists")
	strict := flag.Bool("strict", false, "refuse what ESXi refuses")
	only := flag.Bool("certificates", false, "write certificates and end")
	flag.Parse()
	var err error
	if *only {
		err = json.NewEncoder(os.Stdout).Encode(certificates())
	} else {
		err = serve(*model, *listen, *pair, *machines, *uuids, *strict)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func serve(kind, listen, file string, machines int, uuids, strict bool) error {
	model := simulator.VPX()
	if kind == "esxi" {
		model = simulator.ESX()
	} else if kind != "vcenter" {
		return fmt.Errorf("-model is vcenter or esxi, not %q", kind)
	}
	model.Machine, model.Datastore = machines, 2
	// Or it says 6.5, and the client itself refuses what is newer.
	model.ServiceContent.About.ApiVersion = "7.0.3.0"
	if err := model.Create(); err != nil {
		return err
	}
	// The datastores' folders.
	defer model.Remove()
	numberMachines()
	keepDisks()
	guardPrivileges(model.ServiceContent)

	made := certificates()
	pair, err := tls.X509KeyPair([]byte(made.Good.Cert), []byte(made.Good.Key))
	if file != "" {
		pair, err = tls.LoadX509KeyPair(file, file)
	}
	if err != nil {
		return err
	}
	model.Service.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	model.Service.Listen = &url.URL{Host: listen, User: url.UserPassword(account, os.Getenv("SIMULATOR_PASSWORD"))}
	server := model.Service.NewServer()
	if kind == "vcenter" {
		servePolicies(model.Service)
	}
	// Nobody knows the address yet.
	world := &world{uuids: uuids, strict: strict, next: server.Config.Handler}
	world.rules = &rules{busy: map[types.ManagedObjectReference]int{}, next: world.serve}
	if strict {
		for _, vm := range simulator.Map.All("VirtualMachine") {
			newVersion(vm.Reference())
		}
	}
	server.Config.Handler = &brackets{next: &counted{calls: map[string]int{}, service: model.Service, world: world}}

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop <- syscall.SIGTERM
	}()
	said := map[string]interface{}{
		"url": server.URL.Scheme + "://" + server.URL.Host, "pid": os.Getpid(), "account": account,
		"ca": made.CA, "cert": made.Good.Cert, "key": made.Good.Key,
	}
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		return err
	}
	<-stop
	// Not server.Close: it waits for every request in flight.
	return nil
}

// numberMachines gives each VM a VMCI context id of its own; the library gives all of them -1. In no fixed order.
func numberMachines() {
	for i, entity := range simulator.Map.All("VirtualMachine") {
		devices := entity.(*simulator.VirtualMachine).Config.Hardware.Device
		for j, device := range devices {
			if vmci, ok := device.(*types.VirtualMachineVMCIDevice); ok {
				own := *vmci
				own.Id = int64(1000 + i)
				devices[j] = &own
			}
		}
	}
}
