package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// guarded says of the account what the roles say that it was given; the library says that everybody may do everything. It
// says so only: nothing is refused for want of a privilege. Until the account has a role it is the library's administrator.
// By value: the library looks for its own type inside of ours.
type guarded struct{ simulator.AuthorizationManager }

func guardPrivileges(content types.ServiceContent) {
	inner := simulator.Map.Get(*content.AuthorizationManager).(*simulator.AuthorizationManager)
	simulator.Map.Put(&guarded{*inner})
}

func (m *guarded) HasPrivilegeOnEntities(ask *types.HasPrivilegeOnEntities) soap.HasFault {
	answer := m.AuthorizationManager.HasPrivilegeOnEntities(ask).(*methods.HasPrivilegeOnEntitiesBody)
	for i, each := range answer.Res.Returnval {
		held := m.held(each.Entity)
		if held == nil {
			continue
		}
		for j, one := range each.PrivAvailability {
			answer.Res.Returnval[i].PrivAvailability[j].IsGranted = held[one.PrivId]
		}
	}
	return answer
}

// SetEntityPermissions adds to what others have there, as vSphere does and the library does not.
func (m *guarded) SetEntityPermissions(set *types.SetEntityPermissions) soap.HasFault {
	given := map[string]bool{}
	for _, each := range set.Permission {
		given[each.Principal] = true
	}
	for _, each := range m.permissions(set.Entity, false) {
		if !given[each.Principal] {
			set.Permission = append(set.Permission, each)
		}
	}
	for i := range set.Permission {
		set.Permission[i].Entity = &set.Entity
	}
	return m.AuthorizationManager.SetEntityPermissions(set)
}

func (m *guarded) permissions(entity types.ManagedObjectReference, inherited bool) []types.Permission {
	ask := &types.RetrieveEntityPermissions{Entity: entity, Inherited: inherited}
	return m.RetrieveEntityPermissions(ask).(*methods.RetrieveEntityPermissionsBody).Res.Returnval
}

// held is what the account has there by the nearest role that it was given; nil without any.
func (m *guarded) held(entity types.ManagedObjectReference) map[string]bool {
	for _, each := range m.permissions(entity, true) {
		if each.Principal != account || (*each.Entity != entity && !each.Propagate) {
			continue
		}
		held := map[string]bool{}
		for _, role := range m.RoleList {
			if role.RoleId == each.RoleId {
				for _, privilege := range role.Privilege {
					held[privilege] = true
				}
			}
		}
		return held
	}
	return nil
}

// The library gives a vCenter the privileges of an ESXi host; a vCenter has those of policies too.
var ofVCenter = map[string]bool{"StorageProfile.View": true}

func (m *guarded) AddAuthorizationRole(ask *types.AddAuthorizationRole) soap.HasFault {
	known, more := m.split(ask.PrivIds)
	ask.PrivIds = known
	answer := m.AuthorizationManager.AddAuthorizationRole(ask)
	m.add(ask.Name, more)
	return answer
}

func (m *guarded) UpdateAuthorizationRole(ask *types.UpdateAuthorizationRole) soap.HasFault {
	known, more := m.split(ask.PrivIds)
	ask.PrivIds = known
	answer := m.AuthorizationManager.UpdateAuthorizationRole(ask)
	m.add(ask.NewName, more)
	return answer
}

func (m *guarded) split(ids []string) (known, more []string) {
	for _, id := range ids {
		if ofVCenter[id] && simulator.Map.IsVPX() {
			more = append(more, id)
		} else {
			known = append(known, id)
		}
	}
	return known, more
}

func (m *guarded) add(role string, ids []string) {
	for i := range m.RoleList {
		if m.RoleList[i].Name == role {
			m.RoleList[i].Privilege = append(m.RoleList[i].Privilege, ids...)
		}
	}
}
