package main

import (
	"github.com/vmware/govmomi/pbm/methods"
	pbm "github.com/vmware/govmomi/pbm/simulator"
	"github.com/vmware/govmomi/pbm/types"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"
	vim "github.com/vmware/govmomi/vim25/types"
)

// Of the library's four policies the one that no datastore of it can satisfy: there is no persistent memory.
const unsatisfied = "c268da1b-b343-49f7-a468-b1deeb7078e0"

// servePolicies adds vCenter's policy service; the library has one, to which every datastore fits every policy.
func servePolicies(service *simulator.Service) {
	registry := pbm.New()
	self := vim.ManagedObjectReference{Type: "PbmPlacementSolver", Value: "placementSolver"}
	registry.Put(&strictSolver{registry.Get(self).(*pbm.PlacementSolver)})
	serveAssociations(registry)
	service.RegisterSDK(registry)
}

type strictSolver struct{ *pbm.PlacementSolver }

func (s *strictSolver) PbmCheckRequirements(ask *types.PbmCheckRequirements) soap.HasFault {
	answer := s.PlacementSolver.PbmCheckRequirements(ask).(*methods.PbmCheckRequirementsBody)
	for _, each := range ask.PlacementSubjectRequirement {
		wanted, ok := each.(*types.PbmPlacementCapabilityProfileRequirement)
		if !ok || wanted.ProfileId.UniqueId != unsatisfied {
			continue
		}
		for i := range answer.Res.Returnval {
			fault := vim.LocalizedMethodFault{Fault: new(vim.NotSupported), LocalizedMessage: "it has no persistent memory"}
			answer.Res.Returnval[i].Error = append(answer.Res.Returnval[i].Error, fault)
		}
	}
	return answer
}
