"""Figures for Prometheus: the names are a promise, labels are bounded and harmless, and promtool has nothing to say."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.doubles.hand_clock import HandClock
from tests.unit.esx.site import DS1, DS2, A, Site
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import HypervisorUnreachable, Internal, NotFound, VolumeInUse
from vmdkvol.frames import MAX_FRAME
from vmdkvol.lanes import Lanes
from vmdkvol.messages import REQUESTS, Attach, Call, CreateVolume, GetVolume, Hello
from vmdkvol.names import DatastoreName, VolumeRef
from vmdkvol.volume import VmId, VolumeId
from vmdkvol.watch_messages import MetricsText, ReadMetrics
from vmdkvol.wire import answer_size
from vmdkvol_esx.callers import Caller, Proof
from vmdkvol_esx.counts import OPERATION_BUCKETS
from vmdkvol_esx.expiry import Expiry
from vmdkvol_esx.figures import Figures
from vmdkvol_esx.measuring import Measuring, Quota, Readings, Size, Tally
from vmdkvol_esx.observing import Observer
from vmdkvol_esx.ports import Datastore

# Dashboards and alerts of others are made of these: a change is for the changelog's first line.
NAMES = {
    "vmdkvol_build_info": ("gauge", {"version", "protocol", "component"}),
    "vmdkvol_operation_duration_seconds": ("histogram", {"op", "result", "backend"}),
    "vmdkvol_operations_in_flight": ("gauge", {"op"}),
    "vmdkvol_oldest_operation_seconds": ("gauge", set()),
    "vmdkvol_volumes": ("gauge", {"datastore", "state", "vmgroup"}),
    "vmdkvol_volume_capacity_bytes": ("gauge", {"volume", "datastore", "vmgroup"}),
    "vmdkvol_volume_used_bytes": ("gauge", {"volume", "datastore", "vmgroup"}),
    "vmdkvol_quota_bytes": ("gauge", {"vmgroup", "datastore"}),
    "vmdkvol_quota_used_bytes": ("gauge", {"vmgroup", "datastore"}),
    "vmdkvol_datastore_capacity_bytes": ("gauge", {"datastore"}),
    "vmdkvol_datastore_free_bytes": ("gauge", {"datastore"}),
    "vmdkvol_channel_reconnects": ("counter", {"vm"}),
    "vmdkvol_guest_info": ("gauge", {"vm", "version", "protocol"}),
    "vmdkvol_guest_last_seen_timestamp_seconds": ("gauge", {"vm"}),
    "vmdkvol_orphans": ("gauge", {"kind"}),
    "vmdkvol_lock_wait_seconds": ("histogram", {"lock"}),
    "vmdkvol_audit_unwritten": ("counter", set()),
    "vmdkvol_vsphere_request_seconds": ("histogram", {"method", "result"}),
    "vmdkvol_vm_free_slots": ("gauge", {"vm"}),
    "vmdkvol_certificate_expiry_timestamp_seconds": ("gauge", {"certificate"}),
}
NOTHING = Readings(0.0, (), (), (), (), {})
FULL = Readings(
    12.5,
    (Tally("ds1", "ready", "_DEFAULT", 3),),
    (Quota("_DEFAULT", "ds1", 10, 100), Quota("_DEFAULT", "ds2", 5, None)),
    (Datastore(DS1, 1000, 400, True), Datastore(DS2, 0, 0, False, problem="not there")),
    (Size("db", "ds1", "_DEFAULT", 10, 4), Size("log", "ds1", "_DEFAULT", 10, None)),
    {"disk-without-record": 1, "record-without-disk": 0},
    {"docker1": 57},
    (Expiry("api", 2e9), Expiry("administrators", None, "cannot be read")),
)


def metrics(unwritten: int = 0) -> Figures:
    return Figures(
        SystemClock(), version="1.2.3", protocol=4, backend="local", connected=lambda vm: True, unwritten=lambda: unwritten
    )


def families(text: str) -> dict[str, Any]:
    return {each.name: each for each in text_string_to_metric_families(text)}


def value(text: str, name: str, labels: Mapping[str, str]) -> float | None:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and sample.labels == dict(labels):
                return float(sample.value)
    return None


def observed(meter: Figures, clock: HandClock | None = None) -> Observer:
    made = Observer(meter, clock or HandClock(), REQUESTS)
    meter.guests = made.guests
    return made


def greet(observer: Observer, name: str = "host-a", vm: VmId = A, agent: str = "agent 1") -> None:
    proof = Proof(vm, 0, None, None, "a test")
    observer.greeting(lambda proof, hello: Caller(vm, name))(proof, Hello(1, 4, agent, "boot"))


def everything() -> str:
    made = metrics(unwritten=2)
    observer = observed(made)
    greet(observer)
    handle = observer.around(lambda request, call: None)
    handle(GetVolume(VolumeRef.parse("db")), call())
    made.waited("volume", 0.2)
    made.asked_vsphere("ReconfigVM_Task", "ok", 0.4)
    return made.render(FULL)


def call(vm: VmId | None = A) -> Call:
    return Call(uuid4(), Deadline.after(SystemClock(), 10.0), vm)


# --- names and form ----------------------------------------------------------------------------------------------


def test_the_names_the_types_and_the_labels_are_those_that_were_promised() -> None:
    found = {
        name: (family.type, {label for sample in family.samples for label in sample.labels} - {"le"})
        for name, family in families(everything()).items()
    }
    assert found == NAMES


def test_the_buckets_are_those_that_were_promised() -> None:
    bounds = [
        sample.labels["le"]
        for sample in families(everything())["vmdkvol_operation_duration_seconds"].samples
        if sample.name.endswith("_bucket")
    ]
    assert [float(bound) for bound in bounds] == [*OPERATION_BUCKETS, float("inf")]
    assert {50.0, 110.0} <= set(OPERATION_BUCKETS)


@pytest.mark.integration
@pytest.mark.parametrize("text", [pytest.param(everything(), id="all"), pytest.param(metrics().render(NOTHING), id="nothing")])
def test_promtool_has_nothing_to_say(text: str) -> None:
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_datastore_that_cannot_be_used_has_no_figures() -> None:
    text = metrics().render(FULL)
    assert value(text, "vmdkvol_datastore_free_bytes", {"datastore": "ds1"}) == 400.0
    assert value(text, "vmdkvol_datastore_free_bytes", {"datastore": "ds2"}) is None


def test_no_limit_is_no_figure_and_no_zero() -> None:
    text = metrics().render(FULL)
    labels = {"vmgroup": "_DEFAULT", "datastore": "ds2"}
    assert value(text, "vmdkvol_quota_bytes", labels) is None
    assert value(text, "vmdkvol_quota_used_bytes", labels) == 5.0


# --- labels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        'a"} 1\nvmdkvol_up 0\n#',
        "two\nlines",
        "back\\slash",
        'quo"te',
        "\x00nul",
        "\u202ertl",
        "x" * 10_000,
        "\ud800",
        "",
    ],
    ids=ascii,
)
def test_no_name_of_a_machine_makes_a_line_or_a_label_of_its_own(name: str) -> None:
    made = metrics()
    observer = observed(made)
    greet(observer, name, agent=name)
    text = made.render(NOTHING)
    text.encode()
    found = families(text)
    assert set(found) == set(families(metrics().render(NOTHING))) | {"vmdkvol_guest_info"} - {""}
    (sample,) = found["vmdkvol_guest_info"].samples
    assert len(sample.labels["vm"]) <= 120
    assert sample.labels["vm"].isprintable()


def test_names_that_are_one_after_they_are_cut_are_one_series() -> None:
    made = metrics()
    observer = observed(made)
    for number in range(3):
        greet(observer, "x" * 200 + str(number), VmId(UUID(int=number + 1)))
    assert len(families(made.render(NOTHING))["vmdkvol_guest_last_seen_timestamp_seconds"].samples) == 1


def test_machines_without_end_have_no_series_without_end() -> None:
    made = metrics()
    observer = observed(made)
    for number in range(1, 3001):
        greet(observer, f"host-{number}", VmId(UUID(int=number)))
    assert len(families(made.render(NOTHING))["vmdkvol_guest_info"].samples) == 2000


def test_a_result_is_an_error_s_code_or_one_word() -> None:
    made = metrics()
    for result in ("ok", "volume-in-use", "whatever a newer peer says", "x\ny"):
        made.ended("attach", result, 0.1)
    results = {
        sample.labels["result"] for sample in families(made.render(NOTHING))["vmdkvol_operation_duration_seconds"].samples
    }
    assert results == {"ok", "volume-in-use", "internal"}


def test_a_request_that_has_no_name_of_its_own_is_counted_with_the_others() -> None:
    made = metrics()
    observed(made).around(lambda request, call: None)(ReadMetrics(), call())
    ops = {sample.labels["op"] for sample in families(made.render(NOTHING))["vmdkvol_operation_duration_seconds"].samples}
    assert ops == {"other"}


# --- what is told as it happens ----------------------------------------------------------------------------------


def count(text: str, op: str, result: str) -> float | None:
    labels = {"op": op, "result": result, "backend": "local"}
    return value(text, "vmdkvol_operation_duration_seconds_count", labels)


def test_an_answer_an_error_and_a_bug_are_told_apart_and_nothing_stays_in_flight() -> None:
    made = metrics()
    observer = observed(made)
    outcomes = iter([None, VolumeInUse("held"), Internal("bug"), RuntimeError("bug")])

    def handle(request: object, call: Call) -> None:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome

    for expected in (None, VolumeInUse, Internal, RuntimeError):
        if expected is None:
            observer.around(handle)(Attach(VolumeId(uuid4())), call())
            continue
        with pytest.raises(expected):
            observer.around(handle)(Attach(VolumeId(uuid4())), call())
    text = made.render(NOTHING)
    assert [count(text, "attach", result) for result in ("ok", "volume-in-use", "internal")] == [1.0, 1.0, 2.0]
    assert value(text, "vmdkvol_operations_in_flight", {"op": "attach"}) == 0.0


def test_what_is_worked_on_is_in_flight() -> None:
    made = metrics()
    during: list[float | None] = []

    def handle(request: object, call: Call) -> None:
        during.append(value(made.render(NOTHING), "vmdkvol_operations_in_flight", {"op": "attach"}))

    observed(made).around(handle)(Attach(VolumeId(uuid4())), call())
    assert during == [1.0]


def test_a_machine_that_comes_back_is_counted_and_a_first_time_is_not() -> None:
    made = metrics()
    observer = observed(made)
    for _ in range(3):
        greet(observer)
    assert value(made.render(NOTHING), "vmdkvol_channel_reconnects_total", {"vm": "host-a"}) == 2.0


def test_when_a_machine_asked_last_is_known() -> None:
    made, clock = metrics(), HandClock(wall=1000.0)
    observer = observed(made, clock)
    greet(observer)
    clock.pass_time(50.0)
    observer.around(lambda request, call: None)(GetVolume(VolumeRef.parse("db")), call())
    assert value(made.render(NOTHING), "vmdkvol_guest_last_seen_timestamp_seconds", {"vm": "host-a"}) == 1050.0


def test_who_is_refused_at_the_door_is_no_guest() -> None:
    observer = observed(metrics())

    def refuse(proof: Proof, hello: Hello) -> Caller:
        raise VolumeInUse("no")

    with pytest.raises(VolumeInUse):
        observer.greeting(refuse)(Proof(A, 0, None, None, "a test"), Hello(1, 4, "agent", "boot"))
    assert observer.guests() == {}


def test_work_tells_how_long_it_waited_for_its_turn() -> None:
    clock, waits = HandClock(), []
    lanes = Lanes(clock, "volume", lambda lock, seconds: waits.append((lock, seconds)))
    lanes.run("key", "one", lambda: clock.pass_time(3.0), Deadline.after(clock, 100.0), "working")
    assert waits == [("volume", 0.0)]


def test_two_services_in_one_process_count_apart_and_a_new_one_from_nothing() -> None:
    one, two = metrics(), metrics()
    one.ended("attach", "ok", 0.1)
    assert count(one.render(NOTHING), "attach", "ok") == 1.0
    assert count(two.render(NOTHING), "attach", "ok") is None


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, "0.05"), (0.05, "0.05"), (0.051, "0.1"), (180.0, "180.0"), (181, "+Inf")]
)
def test_what_took_as_long_as_a_bound_is_within_it(seconds: float, bucket: str) -> None:
    made = metrics()
    made.waited("volume", seconds)
    samples = families(made.render(NOTHING))["vmdkvol_lock_wait_seconds"].samples
    within = [sample.labels["le"] for sample in samples if sample.name.endswith("_bucket") and sample.value == 1.0]
    assert within[0] == bucket
    assert samples[-1].value == seconds


def test_calls_of_vsphere_are_counted_by_method_and_by_what_came_of_them() -> None:
    made = metrics()
    for result in ("ok", "ok", "lost"):
        made.asked_vsphere("ReconfigVM_Task", result, 0.4)
    counts = {
        tuple(sample.labels.values()): sample.value
        for sample in families(made.render(NOTHING))["vmdkvol_vsphere_request_seconds"].samples
        if sample.name.endswith("_count")
    }
    assert counts == {("ReconfigVM_Task", "ok"): 2.0, ("ReconfigVM_Task", "lost"): 1.0}


# --- what is read when somebody asks -----------------------------------------------------------------------------


def measuring(site: Site, *, each_volume: bool = False, made: Figures | None = None) -> Measuring:
    render = (made or metrics()).render
    return Measuring(site.store, site.hypervisor, site.clock, site.log, uuid4, render, lambda: 4, each_volume=each_volume)


def test_volumes_are_counted_by_where_they_are_and_whose_they_are() -> None:
    site = Site(datastores=(DS1, DS2), retention_s=1000.0)
    for name in ("a", "b", "c"):
        site.create(name, datastore="ds1")
    site.create("d", datastore="ds2")
    site.remove(site.get("a").id)
    readings = measuring(site).read()
    assert readings.tallies == (
        Tally("ds1", "ready", "_DEFAULT", 2),
        Tally("ds1", "trashed", "_DEFAULT", 1),
        Tally("ds2", "ready", "_DEFAULT", 1),
    )
    assert readings.orphans == {"disk-without-record": 4, "record-without-disk": 0}


def test_names_of_volumes_are_there_only_if_that_is_wanted() -> None:
    site = Site()
    site.create("secret-project")
    assert "secret-project" not in measuring(site).part(ReadMetrics()).text
    assert 'volume="secret-project"' in measuring(site, each_volume=True).part(ReadMetrics()).text


def test_a_hypervisor_that_does_not_answer_costs_its_own_figures_only() -> None:
    site = Site()
    site.create("db")

    class Down:
        def datastores(self) -> None:
            raise HypervisorUnreachable("down")

        def allocated(self, disks: object) -> None:
            raise HypervisorUnreachable("down")

    made = Measuring(site.store, Down(), site.clock, site.log, uuid4, metrics().render, int, each_volume=True)  # type: ignore[arg-type]
    readings = made.read()
    assert (readings.datastores, readings.sizes) == ((), ())
    assert [each.count for each in readings.tallies] == [1]
    assert site.log.events("warning") == ["figures not read"] * 2


def test_large_figures_come_in_parts_that_fit_a_frame_and_are_of_one_moment() -> None:
    site, made = Site(), metrics()
    big = Readings(0.0, tuple(Tally(f"ds{n}", "ready", f"group{n}", n) for n in range(20_000)), (), (), (), {})
    whole = made.render(big)
    reading = Measuring(site.store, site.hypervisor, site.clock, site.log, uuid4, lambda _: whole, int, each_volume=False)
    parts: list[MetricsText] = [reading.part(ReadMetrics())]
    while parts[-1].next is not None:
        parts.append(reading.part(ReadMetrics(scrape=parts[0].scrape, part=parts[-1].next)))
    assert "".join(part.text for part in parts) == whole
    assert len(parts) > 2
    assert max(len(part.text) for part in parts) <= 200_000


@pytest.mark.parametrize("part", [-1, 1, 1 << 40])
def test_a_part_that_is_not_there_is_not_found(part: int) -> None:
    reading = measuring(Site())
    first = reading.part(ReadMetrics())
    with pytest.raises(NotFound):
        reading.part(ReadMetrics(scrape=first.scrape, part=part))
    with pytest.raises(NotFound):
        reading.part(ReadMetrics(scrape=uuid4()))


def test_two_scrapes_at_once_have_a_moment_each() -> None:
    site = Site()
    reading, texts = measuring(site), []

    def scrape() -> None:
        texts.append(reading.part(ReadMetrics()))

    threads = [threading.Thread(target=scrape) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
    assert len({text.scrape for text in texts}) == 8


def test_the_hypervisor_is_not_asked_at_each_scrape() -> None:
    site, asked = Site(), []

    class Counting:
        def datastores(self) -> list[Datastore]:
            asked.append(1)
            return [Datastore(DatastoreName("ds1"), 10, 5, True)]

    clock = HandClock()
    reading = Measuring(site.store, Counting(), clock, site.log, uuid4, metrics().render, int, each_volume=False)  # type: ignore[arg-type]
    for _ in range(5):
        reading.read()
    assert len(asked) == 1
    clock.pass_time(31.0)
    reading.read()
    assert len(asked) == 2


def test_every_operation_that_a_guest_can_ask_has_a_name() -> None:
    made = metrics()
    observer = observed(made)
    observer.around(lambda request, call: None)(CreateVolume(VolumeRef.parse("db"), None), call())  # type: ignore[arg-type]
    assert count(made.render(NOTHING), "create-volume", "ok") == 1.0


def test_a_certificate_that_cannot_be_read_has_no_end_in_the_figures() -> None:
    found = families(everything())["vmdkvol_certificate_expiry_timestamp_seconds"].samples
    assert [(sample.labels, sample.value) for sample in found] == [({"certificate": "api"}, 2e9)]


def test_free_slots_are_asked_for_no_more_often_than_datastores() -> None:
    site, asked = Site(), []

    def free() -> Mapping[str, int]:
        asked.append(1)
        return {"docker1": 60 - len(asked)}

    store, disks, clock, log = site.store, site.hypervisor, site.clock, site.log
    made = Measuring(store, disks, clock, log, uuid4, metrics().render, int, each_volume=False, free_slots=free)
    first = [made.read().free_slots for _ in range(3)]
    clock.sleep(31.0)
    assert first == [{"docker1": 59}] * 3
    assert made.read().free_slots == {"docker1": 58}


def parts_of(text: str) -> list[str]:
    """Return the parts in which a scraper gets this text."""
    site = Site()
    made = Measuring(site.store, site.hypervisor, site.clock, site.log, uuid4, lambda readings: text, int, each_volume=False)
    part = made.part(ReadMetrics())
    found = [part]
    while part.next is not None:
        part = made.part(ReadMetrics(scrape=part.scrape, part=part.next))
        found.append(part)
    assert all(answer_size(each) <= MAX_FRAME for each in found)
    return [each.text for each in found]


@pytest.mark.parametrize("script", ["db", "データベース", "базаданных", "💾"])
@pytest.mark.parametrize("volumes", [1, 700])
def test_parts_fit_a_frame_in_every_script_and_are_the_whole_when_they_are_joined(script: str, volumes: int) -> None:
    sizes = tuple(Size(f"{script * 8}{number}", "ds1", script, number, number) for number in range(volumes))
    text = metrics().render(replace(FULL, sizes=sizes))
    parts = parts_of(text)
    assert "".join(parts) == text
    assert all(part.endswith("\n") for part in parts)
    assert (len(parts) > 1) == (volumes > 1)


def test_a_text_that_fits_is_one_part_and_no_text_too() -> None:
    assert parts_of("a\nb\n") == ["a\nb\n"]
    assert parts_of("") == [""]


@pytest.mark.integration
def test_a_service_that_nobody_asked_for_figures_has_not_loaded_the_library() -> None:
    program = (
        "import sys, vmdkvol_esx.composing; from vmdkvol.clock import SystemClock; from vmdkvol_esx.figures import Figures;"
        "Figures(SystemClock(), version='1', protocol=1, backend='local', connected=bool, unwritten=int).waited('volume', 1.0);"
        "print([each for each in sys.modules if each.startswith('prometheus_client')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
