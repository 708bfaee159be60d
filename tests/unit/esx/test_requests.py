"""One door for all requests: once a call, isolated callers, one-line errors."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from tests.unit.esx.site import A, B, Killed, Site
from vmdkvol import frames
from vmdkvol.clock import Deadline
from vmdkvol.errors import (
    HypervisorUnreachable,
    NoSpace,
    ProtocolVersion,
    StaleRequest,
    TruthUnknown,
    UnknownCaller,
    VolumeError,
    VolumeInUse,
    VolumeNotFound,
)
from vmdkvol.messages import (
    REQUESTS,
    Attach,
    Call,
    CreateVolume,
    Detach,
    Done,
    GetVolume,
    Hello,
    ListVolumes,
    Mark,
    RemoveVolume,
    Request,
)
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.points import Point
from vmdkvol.volume import Content, DiskUuid, VmgroupId, VolumeId
from vmdkvol.wire import dump, read_answer
from vmdkvol_esx.ports import AttachDisk, DeleteDisk, DetachDisk
from vmdkvol_esx.requests import Requests


@pytest.fixture
def site() -> Site:
    return Site()


def create(name: str) -> CreateVolume:
    return CreateVolume(VolumeRef.parse(name), CreateOptions.parse({}))


def test_every_request_has_its_row(site: Site) -> None:
    assert set(site.requests._rows) == {kind for kind in REQUESTS if not kind.before_hello}


def test_without_a_proven_caller_nothing_is_answered(site: Site) -> None:
    with pytest.raises(UnknownCaller):
        site.requests.answer(ListVolumes(), Call(uuid4(), Deadline.after(site.clock, 10.0), None))


def test_hello_tells_who_calls(site: Site) -> None:
    welcome = site.ask(Hello(1, 1, "agent", "boot"), B)
    assert (welcome.version, welcome.vm, welcome.vm_name) == (1, B, "host-b")


def test_hello_without_a_common_version_names_both_ranges(site: Site) -> None:
    with pytest.raises(ProtocolVersion, match="8 to 9"):
        site.ask(Hello(8, 9, "agent", "boot"))


# --- once a call -------------------------------------------------------------------------------------------------


def test_a_repeated_call_gets_the_first_answer(site: Site) -> None:
    """F31: the generation is raised once, so the answer that was lost is the one that holds."""
    volume, call = site.create("db").id, uuid4()
    assert site.ask(Attach(volume), call=call) == site.ask(Attach(volume), call=call)


def test_another_call_is_carried_out(site: Site) -> None:
    volume = site.create("db").id
    assert site.ask(Attach(volume)) != site.ask(Attach(volume))


def test_a_stored_answer_survives_a_restart(site: Site) -> None:
    volume, call = site.create("db").id, uuid4()
    first = site.ask(Attach(volume), call=call)
    site.restart()
    assert site.ask(Attach(volume), call=call) == first


def test_another_callers_answer_is_not_given(site: Site) -> None:
    """Corrections 14."""
    call = uuid4()
    site.ask(create("db"), A, call=call)
    assert site.ask(create("other"), B, call=call).name == "other"


def test_a_call_id_that_was_another_requests_is_refused(site: Site) -> None:
    call = uuid4()
    site.ask(create("db"), call=call)
    with pytest.raises(StaleRequest, match="another request"):
        site.ask(create("other"), call=call)


def test_a_late_copy_of_a_refused_call_is_refused_too(site: Site) -> None:
    """F32: the user heard that the volume is in use, and has stopped the container meanwhile."""
    volume, call = site.create("db").id, uuid4()
    attachment = site.attach(volume, B)
    with pytest.raises(VolumeInUse) as first:
        site.ask(RemoveVolume(volume), call=call)
    site.detach(attachment, B)
    with pytest.raises(VolumeInUse) as again:
        site.ask(RemoveVolume(volume), call=call)
    assert str(again.value) == str(first.value)
    assert again.value is not first.value
    assert site.get("db").id == volume
    site.ask(RemoveVolume(volume), call=uuid4())
    assert not site.records()


def test_another_request_with_the_id_of_a_refused_call_is_stale(site: Site) -> None:
    call = uuid4()
    site.hypervisor.refuse(NoSpace("full"))
    with pytest.raises(NoSpace):
        site.ask(create("db"), call=call)
    with pytest.raises(StaleRequest, match="another request"):
        site.ask(create("other"), call=call)


def test_the_id_of_a_refused_call_is_its_callers_only(site: Site) -> None:
    call = uuid4()
    site.hypervisor.refuse(NoSpace("full"))
    with pytest.raises(NoSpace):
        site.ask(create("db"), A, call=call)
    assert site.ask(create("db"), B, call=call).name == "db"


def test_a_call_whose_end_was_not_known_goes_on_when_it_comes_again(site: Site) -> None:
    call = uuid4()
    site.hypervisor.refuse(HypervisorUnreachable("away"))
    with pytest.raises(HypervisorUnreachable):
        site.ask(create("db"), call=call)
    assert site.ask(create("db"), call=call).name == "db"


def test_a_read_is_never_a_stored_answer(site: Site) -> None:
    call = uuid4()
    site.ask(ListVolumes(), call=call)
    site.create("db")
    assert len(site.ask(ListVolumes(), call=call).volumes) == 1


def test_an_answer_that_cannot_be_kept_is_still_given(site: Site) -> None:
    def full(*_: object) -> None:
        raise NoSpace("the database is full")

    site.create("db")
    site.store.keep_answer = full
    assert site.ask(create("db")).name == "db"
    assert "answer not kept" in site.log.events("warning")


def test_faults_7_1_the_answer_of_work_is_kept_with_its_end(site: Site) -> None:
    def unexpected(*_: object) -> None:
        raise AssertionError("the answer was kept in a transaction of its own")

    site.store.keep_answer = unexpected
    create_call, attach_call, detach_call = uuid4(), uuid4(), uuid4()
    made = site.ask(create("db"), call=create_call)
    attached = site.ask(Attach(made.id), call=attach_call)
    site.ask(Detach(made.id, attached.generation), call=detach_call)
    assert site.store.stored_answer(A, detach_call) is not None
    assert site.ask(create("db"), call=create_call) == made
    assert site.ask(Attach(made.id), call=attach_call) == attached


def test_a_death_before_the_reply_leaves_the_answer_for_the_repeat(site: Site) -> None:
    def dies(point: Point) -> None:
        if point is Point.ATTACH_REPLYING:
            raise Killed(point)

    volume, call = site.create("db").id, uuid4()
    site.restart(dies)
    with pytest.raises(Killed):
        site.ask(Attach(volume), call=call)
    site.restart()
    assert site.ask(Attach(volume), call=call).generation == site.record(volume).generation == 2


def test_a_list_that_is_not_read_after_an_attach_leaves_no_intent_open(site: Site) -> None:
    def dies(point: Point) -> None:
        if point is Point.CHANGE_DONE:
            site.hypervisor.unread(A)

    volume, call = site.create("db").id, uuid4()
    site.restart(dies)
    with pytest.raises(TruthUnknown):
        site.ask(Attach(volume), call=call)
    assert site.store.open_intents() == ()
    assert site.store.stored_answer(A, call) is None


def test_who_joined_work_has_an_answer_of_its_own_kept(site: Site) -> None:
    volume, first, second = site.create("db").id, uuid4(), uuid4()
    site.ask(Attach(volume), call=first)
    site.ask(Attach(volume), call=second)
    kept = [site.store.stored_answer(A, call) for call in (first, second)]
    assert None not in kept
    assert kept[0] != kept[1]


def test_a_death_before_the_answer_was_kept_makes_no_twin(site: Site) -> None:
    def dies(point: Point) -> None:
        if point is Point.CREATE_REPLYING:
            raise Killed(point)

    call = uuid4()
    site.restart(dies)
    with pytest.raises(Killed):
        site.ask(create("db"), call=call)
    site.restart()
    site.ask(create("db"), call=call)
    assert len(site.hypervisor.truth().disks) == len(site.records()) == 1


# --- the store fails ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["vmgroup", "find", "begin", "finish", "volume", "stored_answer"])
def test_a_store_that_fails_once_is_an_error_and_the_repeat_works(site: Site, method: str) -> None:
    """F26: whatever the database refuses, the answer is an error and nothing is left that the repeat stumbles over."""
    working = getattr(site.store, method)

    def fails(*_: object, **__: object) -> None:
        setattr(site.store, method, working)
        raise NoSpace("the database is full")

    setattr(site.store, method, fails)
    with pytest.raises(NoSpace):
        site.ask(create("db"))
    assert site.ask(create("db")).name == "db"
    site.check_settled()
    assert len(site.hypervisor.truth().disks) == 1


@pytest.mark.parametrize("method", ["begin", "finish", "note_task", "update", "volume", "open_intent", "vmgroup"])
@pytest.mark.parametrize("seconds", [0.0, 1.0])
@pytest.mark.parametrize("verb", ["attach", "detach", "remove"])
def test_a_store_that_fails_once_loses_no_disk(site: Site, verb: str, method: str, seconds: float) -> None:
    volume = site.create("db").id
    attachment = site.attach(volume) if verb == "detach" else None
    for change in (AttachDisk, DetachDisk, DeleteDisk):
        site.hypervisor.takes(change, seconds)
    request: Request[object] = {
        "attach": Attach(volume),
        "detach": Detach(volume, 0 if attachment is None else attachment.generation),
        "remove": RemoveVolume(volume),
    }[verb]
    working = getattr(site.store, method)

    def fails(*_: object, **__: object) -> None:
        setattr(site.store, method, working)
        raise NoSpace("the database is full")

    setattr(site.store, method, fails)
    for _ in range(2):
        # A verb that never calls this method succeeds; a repeated Detach may be older than what the first one did.
        with suppress(NoSpace, StaleRequest):
            site.ask(request)
    setattr(site.store, method, working)
    site.calm_down()
    site.check_settled()
    assert bool(site.hypervisor.truth().holders) == (verb == "attach")
    assert bool(site.records()) == (verb != "remove")


# --- isolation ---------------------------------------------------------------------------------------------------


def _of_another_group(site: Site) -> VolumeId:
    """Put a volume of a vmgroup into the store of which no caller is a member."""
    own = site.record(site.create("own").id)
    group = VmgroupId(UUID(int=77))
    foreign = replace(own, id=VolumeId(uuid4()), name="theirs", vmgroup=group, path="x", disk_uuid=DiskUuid(uuid4()))
    known = site.store.volume
    site.store.volume = lambda volume: foreign if volume == foreign.id else known(volume)
    return foreign.id


@pytest.mark.parametrize(
    "request_of",
    [
        pytest.param(Attach, id="attach"),
        pytest.param(lambda volume: Mark(volume, 1, Content.FORMATTING, UUID(int=1)), id="mark"),
    ],
)
def test_another_groups_volume_is_as_absent_as_none(site: Site, request_of: type[Attach]) -> None:
    """T5: the same text but for the id."""
    theirs, none = _of_another_group(site), VolumeId(uuid4())
    texts = []
    for volume in (theirs, none):
        with pytest.raises(VolumeNotFound) as caught:
            site.ask(request_of(volume))
        texts.append(str(caught.value).replace(str(volume), "ID"))
    assert texts[0] == texts[1]


def test_another_groups_volume_is_not_removed(site: Site) -> None:
    theirs = _of_another_group(site)
    assert site.ask(RemoveVolume(theirs)) == site.ask(RemoveVolume(VolumeId(uuid4()))) == Done()


# --- bad input ---------------------------------------------------------------------------------------------------

BAD = [
    pytest.param({"options": {"size": "60tb", "diskformat": "zeroedthick"}}, "no-space", id="larger-than-the-datastore"),
    pytest.param({"name": "db@nowhere"}, "datastore-not-found", id="unknown-datastore"),
    pytest.param({"options": {"datastore": "nowhere"}}, "datastore-not-found", id="unknown-datastore-as-option"),
    pytest.param({"name": "there", "options": {"size": "2gb"}}, "name-conflict", id="other-size"),
    pytest.param({"options": {"clone-from": "missing"}}, "volume-not-found", id="clone-of-nothing"),
    pytest.param({"options": {"clone-from": "mounted"}}, "volume-in-use", id="clone-of-a-mounted-one"),
]


@pytest.mark.parametrize(("asked", "code"), BAD)
def test_bad_input_is_one_clear_line_with_a_code_and_leaves_nothing(site: Site, asked: dict[str, object], code: str) -> None:
    site.create("there", size="1gb")
    site.attach(site.create("mounted").id)
    before = (site.records(), site.hypervisor.truth().disks)
    options = asked.get("options", {})
    assert isinstance(options, dict)
    request = CreateVolume(VolumeRef.parse(str(asked.get("name", "new"))), CreateOptions.parse(options))
    with pytest.raises(VolumeError) as caught:
        site.ask(request, B)
    text = str(caught.value)
    assert text.endswith(f"[{code}]")
    assert "\n" not in text
    assert len(text) <= 300
    assert (site.records(), site.hypervisor.truth().disks) == before


def test_a_hundred_characters_fit_into_every_text(site: Site) -> None:
    """N22."""
    name = "ü" * 100
    site.attach(site.create(name).id)
    with pytest.raises(VolumeInUse) as caught:
        site.ask(RemoveVolume(site.get(name).id), B)
    assert len(str(caught.value)) <= 300
    assert str(caught.value).endswith("[volume-in-use]")


@pytest.mark.parametrize("name", ["a", "данные", "a b*c?", "-rf", "x-flat", "x-000001", "db.vmdk", "%s", "'; DROP", "a@b@ds1"])
def test_any_name_is_one_volume_all_its_life(site: Site, name: str) -> None:
    info = site.ask(create(name))
    assert site.get(name).name == name
    assert read_answer(create(name), frames.parse(frames.encode(dump(info)))) == info
    site.detach(site.attach(info.id))
    site.ask(RemoveVolume(info.id))
    with pytest.raises(VolumeNotFound):
        site.ask(GetVolume(VolumeRef.parse(name)))


def test_the_service_may_be_named(site: Site) -> None:
    requests = Requests(site.verbs, service="esxd on rack 7")
    welcome = requests.answer(Hello(1, 1, "agent", "boot"), Call(uuid4(), Deadline.after(site.clock, 10.0), A))
    assert welcome.service == "esxd on rack 7"
