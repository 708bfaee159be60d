"""Storage policies by name on the simulator: foreign code has the policies; that one of them fits nowhere is ours."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Mapping
from contextlib import nullcontext

import pytest
from pyVmomi import pbm, vim

from tests.doubles.hand_clock import HandClock
from tests.vsphere.disk_world import new_ref, world_of
from tests.vsphere.servers import listening, over_tls, reply, request
from tests.vsphere.simulators import Certificates, Simulator
from tests.vsphere.stage import PATIENCE_S, Stage, soon
from tests.vsphere.test_session import end_session
from vmdkvol.errors import InvalidOption, NoSpace, PolicyNotFound, VolumeError
from vmdkvol_esx.ports import CreateDisk
from vmdkvol_esx.vsphere import reading
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.connections import Flight, PinnedContext, flying
from vmdkvol_esx.vsphere.endpoint import Endpoint, Trust
from vmdkvol_esx.vsphere.faults import Failed, Kind
from vmdkvol_esx.vsphere.policies import AGAIN_S, REMEMBERED_S, Policies
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.stub import Stub

pytestmark = [pytest.mark.integration]
pure, injected = pytest.mark.vcsim_pure, pytest.mark.vcsim_injected

VSAN = "vSAN Default Storage Policy"
VSAN_ID = "aa6d5a82-1c88-45da-85d3-3d74b91a5bad"
MEMORY = "Host-local PMem Default Storage Policy"


class Site:
    def __init__(self, simulator: Simulator, stage: Stage) -> None:
        self.simulator = simulator
        self.session: Session[Service] = stage.session(simulator.port, Trust(ca=simulator.ca), password=simulator.password)
        self.clock = HandClock()
        self.policies = Policies(self.session, self.clock)
        self.datastore = self.session.read("finding a datastore", datastore, soon())

    def asked(self) -> int:
        return self.simulator.calls().get("PbmQueryProfile", 0)

    def profile(self, name: str) -> str:
        return self.policies.profile(name, self.datastore, "ds1", soon())

    def make_policy(self, name: str) -> None:
        """As an administrator does, by another way than ours."""

        def make(service: Service) -> object:
            manager = vim_policies(service).profileManager
            return manager.Create(
                pbm.profile.CapabilityBasedProfileCreateSpec(
                    name=name,
                    category="REQUIREMENT",
                    resourceType=pbm.profile.ResourceType(resourceType="STORAGE"),
                    constraints=pbm.profile.SubProfileCapabilityConstraints(subProfiles=[tagged()]),
                )
            )

        self.session.read("making a policy", make, soon())


def vim_policies(service: Service) -> pbm.ServiceInstanceContent:
    return pbm.ServiceInstance("ServiceInstance", service.stub.beside("/pbm", "pbm.version.version11")).RetrieveContent()


def tagged() -> object:
    """The least that a policy can ask for."""
    capability = pbm.capability
    value = capability.PropertyInstance(id="tier", value="gold")
    wanted = capability.CapabilityInstance(
        id=capability.CapabilityMetadata.UniqueId(namespace="tags", id="tier"),
        constraint=[capability.ConstraintInstance(propertyInstance=[value])],
    )
    return pbm.profile.SubProfileCapabilityConstraints.SubProfile(name="any", capability=[wanted])


def datastore(service: Service) -> str:
    view = service.content.viewManager.CreateContainerView(service.content.rootFolder, [vim.Datastore], True)
    found: str = reading.properties(service, vim.view.ContainerView, [view], ["view"])[view._moId]["view"][0]._moId
    return found


@pytest.fixture
def site(shared: Simulator, stage: Stage) -> Site:
    return Site(shared, stage)


def on(model: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("shared", [model], indirect=True)


@pure
@on("vcenter")
def test_a_policy_is_found_by_its_name(site: Site) -> None:
    assert re.fullmatch(r"[0-9a-f-]{36}", site.profile(VSAN))


@pure
@on("vcenter")
def test_different_names_are_different_policies(site: Site) -> None:
    assert site.profile(VSAN) != site.profile("VVol No Requirements Policy")


@pure
@on("vcenter")
@pytest.mark.parametrize("name", ["vsan default storage policy", VSAN + " ", "", "*", "aa6d5a82-1c88-45da-85d3-3d74b91a5bad"])
def test_an_unknown_name_lists_the_known_ones(site: Site, name: str) -> None:
    with pytest.raises(PolicyNotFound) as refused:
        site.profile(name)

    assert VSAN in refused.value.remedy


@pure
@on("vcenter")
def test_what_is_known_is_not_asked_for_again_for_a_while(site: Site) -> None:
    site.profile(VSAN)
    before = site.simulator.calls()

    site.clock.pass_time(REMEMBERED_S - 1)
    site.profile(VSAN)

    assert site.simulator.calls() == before


@pure
@on("vcenter")
def test_what_is_old_is_asked_for_again(site: Site) -> None:
    site.profile(VSAN)
    before = site.asked()

    site.clock.pass_time(REMEMBERED_S + 1)
    site.profile(VSAN)

    assert site.asked() == before + 1


@injected
@on("vcenter")
def test_those_who_ask_beside_each_other_share_a_read(site: Site) -> None:
    before = site.asked()
    site.simulator.next("PbmQueryProfile", "wait", ms=300, times=99)
    threads = [threading.Thread(target=site.policies.id, args=(VSAN, soon())) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    site.simulator.clear()

    assert site.asked() == before + 1


@pure
@on("vcenter")
def test_whether_it_fits_is_asked_for_again_too(site: Site) -> None:
    site.profile(VSAN)
    before = site.simulator.calls()["PbmCheckRequirements"]

    site.clock.pass_time(REMEMBERED_S + 1)
    site.profile(VSAN)

    assert site.simulator.calls()["PbmCheckRequirements"] == before + 1


@pure
@on("vcenter")
def test_a_policy_that_was_made_just_now_is_found(site: Site) -> None:
    site.profile(VSAN)
    site.make_policy("made just now (50%) ü")

    site.clock.pass_time(AGAIN_S + 1)

    assert site.profile("made just now (50%) ü")


@pure
@on("vcenter")
def test_many_unknown_names_are_not_many_calls(site: Site) -> None:
    site.profile(VSAN)
    before = site.asked()

    for number in range(20):
        with pytest.raises(PolicyNotFound):
            site.profile(f"no {number}")

    assert site.asked() == before


@pure
@on("vcenter")
def test_what_is_forgotten_is_asked_for_again(site: Site) -> None:
    site.profile(VSAN)
    before = site.asked()

    site.policies.forget()
    site.profile(VSAN)

    assert site.asked() == before + 1


@pure
@on("vcenter")
def test_policies_are_asked_for_in_the_session_that_is_there(site: Site) -> None:
    before = site.simulator.calls()["Login"]

    site.profile(VSAN)

    assert site.simulator.calls()["Login"] == before


@pure
@on("vcenter")
def test_after_the_server_ended_the_session_the_policies_are_read(site: Site, stage: Stage) -> None:
    end_session(site.simulator, stage, site.session)
    before = site.simulator.calls().get("PbmRetrieveServiceContent", 0)

    assert VSAN in site.policies.known(soon())
    # Not asked in the session that has ended: its own words for that are not known.
    assert site.simulator.calls()["PbmRetrieveServiceContent"] == before + 1


@pure
@on("esxi")
def test_a_single_host_has_none_and_says_so(site: Site) -> None:
    with pytest.raises(PolicyNotFound) as refused:
        site.profile(VSAN)

    assert "single ESXi host" in refused.value.remedy
    assert site.policies.known(soon()) == {}


@injected
@on("vcenter")
def test_a_policy_that_does_not_fit_the_datastore_is_refused_with_the_servers_reason(site: Site) -> None:
    with pytest.raises(InvalidOption, match="does not fit datastore ds1: it has no persistent memory"):
        site.profile(MEMORY)


@injected
@on("vcenter")
def test_a_policy_that_did_not_fit_is_looked_at_again(site: Site) -> None:
    before = site.simulator.calls().get("PbmCheckRequirements", 0)

    for _ in range(2):
        with pytest.raises(InvalidOption):
            site.profile(MEMORY)

    assert site.simulator.calls()["PbmCheckRequirements"] == before + 2


@pure
@on("vcenter")
def test_a_datastore_that_the_server_does_not_speak_of_is_none_that_fits(site: Site) -> None:
    with pytest.raises(InvalidOption, match="does not fit"):
        site.policies.profile(VSAN, "datastore-of-nobody", "ds9", soon())


@injected
@on("vcenter")
@pytest.mark.parametrize(("policy", "refused"), [(VSAN, True), ("VVol No Requirements Policy", False), (None, False)])
def test_a_disk_is_asked_for_under_the_policy_of_its_name(
    shared: Simulator, stage: Stage, policy: str | None, refused: bool
) -> None:
    """The simulator looks at no policy of a disk; so the call for one under this policy is met with a fault."""
    with world_of(shared, stage) as world:
        shared.next("CreateVirtualDisk_Task", "fault", fault="NoDiskSpace", match=VSAN_ID)
        ref = new_ref()
        try:
            with pytest.raises(NoSpace) if refused else nullcontext():
                world.do(CreateDisk(ref, 1 << 20, "thin", {}, policy))
        finally:
            shared.clear()

        assert (world.disks.disk(ref) is None) == refused


@injected
@on("vcenter")
@pytest.mark.parametrize("do", ["fault", "soap"])
def test_after_a_disk_was_refused_its_policy_is_looked_for_again(shared: Simulator, stage: Stage, do: str) -> None:
    """An id that is remembered may be that of a policy which was replaced by one of its name."""
    with world_of(shared, stage) as world:
        shared.next("CreateVirtualDisk_Task", do, fault="InvalidArgument")
        with pytest.raises(VolumeError):
            world.do(CreateDisk(new_ref(), 1 << 20, "thin", {}, VSAN))
        before = shared.calls()["PbmQueryProfile"]

        world.do(CreateDisk(new_ref(), 1 << 20, "thin", {}, VSAN))

        assert shared.calls()["PbmQueryProfile"] == before + 1


@injected
def test_the_policy_service_is_told_the_session_in_header_and_cookie(made: Certificates) -> None:
    """A real vCenter asks for the first; the simulator looks at the second."""
    seen: list[bytes] = []

    def keep(connection: socket.socket) -> None:
        seen.append(request(connection))
        connection.sendall(reply(b"", "503 Unavailable"))

    with listening(over_tls(made.good, keep)) as server:
        endpoint = Endpoint("localhost", "user", server.port)
        main = Stub(endpoint, PinnedContext.of(Trust(ca=made.ca)), "vim.version.v7_0", 1)
        main.cookie = 'vmware_soap_session="5f3c-77"; Path=/; HttpOnly; Secure;'
        beside = main.beside("/pbm", "pbm.version.version11")
        with flying(Flight(soon(5.0), Kind.READ)), pytest.raises(Failed):
            pbm.ServiceInstance("ServiceInstance", beside).RetrieveContent()

    headers = header_lines(seen[0])
    assert seen[0].startswith(b"POST /pbm ")
    assert "vmware_soap_session" in headers["cookie"]
    assert re.search(rb"<vcSessionCookie[^>]*>5f3c-77</vcSessionCookie>", seen[0])


def header_lines(asked: bytes) -> Mapping[str, str]:
    lines = asked.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
