"""What is seen: the pages, their headers, what foreign text becomes on them, and what is said of what cannot be read."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.unit.esx.web.page_site import ADVICE, DISK, TASK, VM, VOLUME, Site, detail, heading, store
from vmdkvol.admin_messages import ListVms, VmPage
from vmdkvol.adoption_messages import FoundDisks, ScanDisks
from vmdkvol.advice_messages import Advice, AdviseMaintenance, Matter
from vmdkvol.errors import HypervisorUnreachable, ServiceUnreachable, VolumeNotFound
from vmdkvol.findings import FAIL, Finding
from vmdkvol.options import CreateOptions
from vmdkvol.orders import Actor, Role
from vmdkvol.site_messages import CordonInfo, DatastoreRows, ListDatastores
from vmdkvol.task_messages import Count, GetTask, ListTasks, SiteInfo, SiteStatus, Tasks, TaskState
from vmdkvol.vmgroup_messages import DatastoreUsage, ListVmgroups, RightInfo, VmgroupInfo, VmgroupPage
from vmdkvol.volume import Doing, State, VmgroupId, VolumeId
from vmdkvol.volume_orders import InspectVolume, ListAllVolumes, VolumeRows
from vmdkvol.watch_messages import ReadVitals, Vitals
from vmdkvol_esx.web.pages.words import ago, iso, told

ONE = f"/ui/volumes/{VOLUME.id}"
DISKS, ADOPT, ADVICE_PAGE = "/ui/datastores/ds1/disks", "/ui/adopt?disk=[ds1]+x.vmdk", "/ui/maintenance?target=ds1"
PAGES = ("/ui/", "/ui/volumes", ONE, "/ui/machines", DISKS, "/ui/tasks", f"/ui/tasks/{TASK.id}", "/ui/health")
NOT_IN_THE_NAVIGATION = (ADOPT, ADVICE_PAGE)
# What a browser, a terminal or a reader could take for something else than text.
FOREIGN = "<script>alert(1)</script>\"'><img src=x onerror=y>{{6*7777}}\u202egnp\x1b[31m\r\nX-Evil: 1&lt;"
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_one_heading_its_place_in_the_navigation_and_a_way_past_it(site: Site, path: str) -> None:
    found = site.entered(Role.VIEWER).get(path)
    assert (found.status_code, found.content_type) == (200, "text/html; charset=utf-8")
    assert heading(found)
    assert found.text.count('aria-current="page"') == 1
    assert '<a class="skip" href="#main">' in found.text
    assert '<html lang="en">' in found.text


@pytest.mark.parametrize("path", [*PAGES, *NOT_IN_THE_NAVIGATION])
def test_every_field_has_a_label_and_every_id_is_there_once(site: Site, path: str) -> None:
    text = site.entered().get(path).text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    fields = re.findall(r'<(?:input|select|textarea) id="([^"]+)"', text)
    assert set(fields) <= set(re.findall(r'<label for="([^"]+)"', text))
    unnamed = [tag for tag in re.findall(r"<(?:input|select|textarea)[^>]*>", text) if "id=" not in tag and "hidden" not in tag]
    assert unnamed == []


@pytest.mark.parametrize("path", [*PAGES, "/ui/login", "/ui/nothing", "/ui/volumes?state=x", "/", "/ui/logout", "/ui/static/x"])
def test_every_answer_says_what_a_browser_may_do_with_it(site: Site, path: str) -> None:
    found = site.entered().get(path)
    assert found.headers["Content-Security-Policy"] == POLICY
    assert found.headers["X-Frame-Options"] == "DENY"
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert found.headers["Referrer-Policy"] == "same-origin"
    assert found.headers["Cache-Control"] == "no-store"
    # It would be said of every port of this host, and what else answers there may have no TLS.
    assert "Strict-Transport-Security" not in found.headers
    assert found.headers["X-Request-Id"]


@pytest.mark.parametrize("path", [*PAGES, "/ui/login", "/ui/nothing"])
def test_no_page_has_style_or_script_inside_it_or_from_elsewhere(site: Site, path: str) -> None:
    text = site.entered().get(path).text
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:|https?://", text) == []
    assert [tag for tag in re.findall(r"<script[^>]*>", text) if 'src="/ui/static/' not in tag] == []


def test_what_a_page_is_drawn_with_is_served_and_may_be_kept(site: Site) -> None:
    browser = site.browser()
    for name, kind in (("page.css", "text/css"), ("page.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
        found = browser.get(f"/ui/static/{name}")
        assert (found.status_code, found.mimetype, found.headers["Cache-Control"]) == (200, kind, "private, max-age=86400")
        assert "http" not in found.text.replace('xmlns="http://www.w3.org/2000/svg"', "")


@pytest.mark.parametrize(
    "path", ["/ui/static/../site.py", "/ui/static/%2e%2e/site.py", "/ui/static/..%2fsite.py", "/ui/static//x"]
)
def test_nothing_else_of_the_machine_is_served(site: Site, path: str) -> None:
    assert site.entered().get(path).status_code in (400, 404)


@pytest.mark.parametrize("path", ["/ui/nothing", "/ui/volumes/a/b", "/ui/static/nothing", "/ui/v1/vms"])
def test_a_page_that_there_is_not_says_so_as_a_page(site: Site, path: str) -> None:
    found = site.entered().get(path)
    assert (found.status_code, heading(found), found.mimetype) == (404, "That is not there", "text/html")


def test_nobody_hears_without_a_login_which_pages_there_are(site: Site) -> None:
    found = [site.browser().get(path) for path in ("/ui/nothing", "/ui/volumes")]
    assert [(each.status_code, heading(each)) for each in found] == [(401, "Log in")] * 2


def test_a_mistake_of_ours_is_a_page_that_tells_nothing_of_the_inside(site: Site) -> None:
    site.answers[SiteStatus] = ZeroDivisionError("secret")
    found = site.entered().get("/ui/")
    assert (found.status_code, heading(found)) == (500, "That is a mistake in vmdkvol")
    assert "secret" not in found.text
    assert any("crashed" in event for event in site.log.events)


# --- what foreign text becomes ---------------------------------------------------------------------------------------


def _foreign() -> dict[type, Any]:
    row = replace(
        VOLUME, name=FOREIGN, vmgroup=FOREIGN, datastore=FOREIGN, path=FOREIGN, policy=FOREIGN, diskformat=FOREIGN,
        fstype=FOREIGN, access=FOREIGN, attach_as=FOREIGN, vm=FOREIGN, last_vm=FOREIGN, created_by=FOREIGN,
    )  # fmt: skip
    name: Any = FOREIGN
    right = RightInfo(name, True, None, 40, (), 30)
    group = VmgroupInfo(
        VmgroupId(UUID(int=3)), FOREIGN, FOREIGN, name, (), (), (right,), (DatastoreUsage(name, 3),), 3, (), 0, 4
    )
    datastore = replace(store(problem=FOREIGN, cordon=CordonInfo(FOREIGN, 1.0, FOREIGN), warnings=(FOREIGN,)), name=name)
    task = replace(TASK, volume_name=FOREIGN, by=FOREIGN)
    return {
        SiteStatus: SiteInfo(FOREIGN, 12, 3600.0, (Count(FOREIGN, 3),), 1, (FOREIGN,), 1, (FOREIGN,)),
        ListDatastores: DatastoreRows((datastore,)),
        ListVmgroups: VmgroupPage((group,)),
        ListVms: VmPage((replace(VM, name=FOREIGN),)),
        ScanDisks: FoundDisks(
            (replace(DISK, place=FOREIGN, reason=FOREIGN, used_by=FOREIGN, volume=FOREIGN, adoptable=False),)
        ),
        AdviseMaintenance: replace(ADVICE, target=FOREIGN, advice=(Advice(Matter.WORK, True, FOREIGN, FOREIGN, FOREIGN),)),
        ListTasks: Tasks((task, replace(task, state=TaskState.DONE, ended_at=2.0))),
        GetTask: task,
        ListAllVolumes: VolumeRows((row,), warnings=(FOREIGN,)),
        InspectVolume: replace(
            detail(row, address=FOREIGN, trouble=(FOREIGN,)), options=CreateOptions.parse({"label": "a=<b>"}), disk_uuid=FOREIGN
        ),
        ReadVitals: Vitals(False, (Finding(FAIL, FOREIGN, FOREIGN, FOREIGN),)),
    }


@pytest.mark.parametrize("path", [*PAGES, ADVICE_PAGE])
def test_foreign_text_is_text_wherever_it_stands(site: Site, path: str) -> None:
    site.answers = _foreign()
    found = site.entered().get(path)
    assert found.status_code == 200
    assert "alert(1)" in found.text
    for bad in ("<script>alert", "<img", "<b>", "46662"):
        assert bad not in found.text, bad
    # What is sent back is as it came.
    seen = re.sub(r"<input[^>]*>", "", found.text)
    for bad in ("\u202e", "\x1b", "\r"):
        assert bad not in seen, bad
    assert "{{6*7777}}" in found.text
    assert "X-Evil" not in str(found.headers)


@pytest.mark.parametrize("field", ["name", "vmgroup", "datastore", "vm"])
def test_a_filter_is_shown_again_as_text(site: Site, field: str) -> None:
    found = site.entered().get(f"/ui/volumes?{field}=%22%3E%3Cscript%3Ex%3C/script%3E")
    assert found.status_code == 200
    assert "<script>x" not in found.text
    assert "&lt;script&gt;x&lt;/script&gt;" in found.text


def test_an_error_with_foreign_text_is_text(site: Site) -> None:
    site.answers[InspectVolume] = VolumeNotFound(f"there is no volume {FOREIGN}", remedy=FOREIGN)
    found = site.entered().get(ONE)
    assert found.status_code == 404
    assert "<script>alert" not in found.text
    assert "\u202e" not in found.text


def test_a_path_with_foreign_text_is_refused_or_text(site: Site) -> None:
    found = site.entered().get("/ui/%3Cscript%3Ealert(1)%3C%2Fscript%3E")
    assert found.status_code == 400
    assert "<script>alert" not in found.text


def test_what_a_form_sent_is_on_the_plan_as_it_was_and_as_text(site: Site) -> None:
    browser = site.entered()
    planned = browser.send(ONE, "set-volume", options='label=a="><b>\nshares=\u202ex')
    assert "<b>" not in planned.text
    browser.confirm(planned)
    assert site.orders()[1].options == (("label", 'a="><b>'), ("shares", "\u202ex"))


# --- the overview ----------------------------------------------------------------------------------------------------


def test_the_overview_says_how_many_how_full_and_what_to_look_at(site: Site) -> None:
    text = site.entered(Role.VIEWER).get("/ui/").text
    for said in ("<strong>3</strong> ready", "a disk is lost", "cordoned by ann: repair", "nearly full", "1.50", "100gb"):
        assert said in text
    taken = "60gb of 100gb is taken, 30gb of it by volumes; 40gb is free, and volumes may take 120gb more"
    assert f'aria-label="{taken}"' in text
    assert 'aria-label="30gb of 40gb, 10gb left"' in text
    assert 'value="43"' in text


def test_the_fullest_quota_stands_first_and_a_row_of_its_own_counts_before_that_for_all(site: Site) -> None:
    def right(name: str, total: int | None) -> RightInfo:
        return RightInfo(name, True, None, total, (), None)  # type: ignore[arg-type]

    def use(name: str, used: int) -> DatastoreUsage:
        return DatastoreUsage(name, used)  # type: ignore[arg-type]

    rights = (right("_ALL_DS", 100 << 30), right("a", 10 << 30), right("free", None))
    usage = (use("a", 9 << 30), use("b", 10 << 30), use("free", 5 << 30))
    group = VmgroupInfo(VmgroupId(UUID(int=3)), "g", "", None, (), (), rights, usage, 3, (), 0, 4)
    site.answers[ListVmgroups] = VmgroupPage((group,))
    text = site.entered().get("/ui/").text
    assert re.findall(r'aria-label="(\d+gb of \d+gb), \d+gb left"', text) == ["9gb of 10gb", "10gb of 100gb"]


def test_of_many_quotas_the_fullest_are_shown_and_of_how_many_vmgroups_is_said(site: Site) -> None:
    def group(number: int) -> VmgroupInfo:
        place: Any = "a"
        right = RightInfo(place, True, None, 100 << 30, (), None)
        usage = (DatastoreUsage(place, number << 30),)
        return VmgroupInfo(VmgroupId(UUID(int=number + 1)), f"g{number}", "", None, (), (), (right,), usage, 3, (), 0, 4)

    site.answers[ListVmgroups] = VmgroupPage(tuple(group(number) for number in range(30)), "g29")
    text = site.entered().get("/ui/").text
    assert re.findall(r'href="/ui/vmgroups/(g\d+)"', text) == [f"g{number}" for number in range(29, 9, -1)]
    assert "10 more are at their" in text
    assert "Of the first 30 vmgroups by name." in text


def test_who_looks_on_at_the_overview_asks_for_the_work_alone(site: Site) -> None:
    """The whole overview of a thousand vmgroups every two seconds would be work of its own."""
    browser = site.entered()
    assert 'data-from="/ui/tasks?running=yes"' in browser.get("/ui/").text
    site.asked.clear()
    found = browser.get("/ui/tasks?running=yes", X_Live="1")
    assert 'id="live-tasks"' in found.text
    [asked] = site.asked
    assert (type(asked), asked.ended) == (ListTasks, False)


@pytest.mark.parametrize("part", [ListDatastores, ListVmgroups, ListTasks])
def test_a_part_that_cannot_be_read_is_said_to_be_unknown_and_the_others_are_there(site: Site, part: type) -> None:
    site.answers[part] = HypervisorUnreachable("vCenter does not answer")
    found = site.entered().get("/ui/")
    assert found.status_code == 200
    assert "Not known: vCenter does not answer" in found.text
    assert "<strong>3</strong> ready" in found.text


def test_a_datastore_that_is_not_shown_now_has_no_figures_rather_than_none_used(site: Site) -> None:
    gone = replace(store(), capacity_bytes=None, free_bytes=None, used_bytes=None, overcommit=None)
    site.answers[ListDatastores] = DatastoreRows((gone,))
    assert 'aria-label="how full it is is not known now"' in site.entered().get("/ui/").text


def test_a_datastore_is_not_fine_whose_use_is_not_known(site: Site) -> None:
    site.answers[ListDatastores] = DatastoreRows((replace(store(), used_bytes=None),))
    text = site.entered().get("/ui/").text
    assert "not known now: what its volumes use" in text
    assert ">fine<" not in text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "just now"),
        (-4.0, "just now"),
        (59.0, "59 seconds ago"),
        (240.0, "4 minutes ago"),
        (7200.0, "2 hours ago"),
        (-7200.0, "in 2 hours"),
        (30 * 86400.0, "30 days ago"),
        (-90 * 86400.0, "in 90 days"),
    ],
)
def test_a_time_is_told_by_its_distance_too(seconds: float, said: str) -> None:
    assert ago(seconds) == said


def test_when_something_was_is_told_exactly_for_people_and_for_machines(site: Site) -> None:
    text = site.entered().get(ONE).text
    assert '<time datetime="1970-01-01T00:00:01Z">1970-01-01 00:00:01 UTC</time> <span class="quiet">12 days ago</span>' in text


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("see `vmdkvol doctor`, then", "see <code>vmdkvol doctor</code>, then"),
        ("`a` and `<b>`", "<code>a</code> and <code>&lt;b&gt;</code>"),
        ("<i>`x`\u202e", "&lt;i&gt;<code>x</code>\\u202e"),
        ("an odd ` one <b>", "an odd ` one &lt;b&gt;"),
        ("", ""),
    ],
)
def test_a_command_in_a_text_is_drawn_as_one_and_nothing_else_is_markup(text: str, drawn: str) -> None:
    assert str(told(text)) == drawn


@pytest.mark.parametrize("seconds", [1e18, float("nan"), float("inf"), None])
def test_what_no_calendar_has_is_no_time_for_machines_either(seconds: float | None) -> None:
    assert iso(seconds) == ""


@pytest.mark.parametrize("path", PAGES)
def test_what_there_is_not_is_a_dash_and_no_word_of_python(site: Site, path: str) -> None:
    gone = replace(store(), capacity_bytes=None, free_bytes=None, used_bytes=None, overcommit=None)
    task = replace(TASK, percent=None, left_s=None, by=None)
    site.answers |= {ListDatastores: DatastoreRows((gone,)), ListTasks: Tasks((task,)), GetTask: task}
    assert re.findall(r">\s*None\b", site.entered().get(path).text) == []


def test_a_service_that_does_not_answer_is_an_error_and_no_empty_site(site: Site) -> None:
    site.answers[SiteStatus] = ServiceUnreachable("the service does not answer")
    found = site.entered().get("/ui/")
    assert (found.status_code, found.headers["Retry-After"]) == (503, "1")


# --- volumes ---------------------------------------------------------------------------------------------------------


def _rows(count: int) -> tuple[Any, ...]:
    """Return volumes whose names go down as their ids go up."""
    return tuple(
        replace(VOLUME, id=VolumeId(UUID(int=number + 1)), name=f"v{count - number:04}", size_bytes=(number + 1) << 30)
        for number in range(count)
    )


def _paged(site: Site, rows: tuple[Any, ...]) -> None:
    """Answer as the core does: from ``after`` on, up to ``limit``."""

    class Answers(dict[type, Any]):
        def get(self, kind: type, default: Any = None) -> Any:
            if kind is not ListAllVolumes:
                return super().get(kind, default)
            asked = site.asked[-1]
            left = [row for row in rows if asked.after is None or row.id > asked.after]
            page = tuple(left[: asked.limit])
            return VolumeRows(page, page[-1].id if len(left) > asked.limit else None)

    site.answers = Answers(site.answers)


def _names(text: str) -> list[str]:
    return re.findall(r'<th scope="row"><a href="/ui/volumes/[^"]+">([^<]+)</a>', text)


def _next(text: str) -> str:
    [found] = re.findall(r'<a href="([^"]+)" rel="next">', text)
    return str(found).replace("&amp;", "&")


def test_a_site_that_fits_on_a_page_is_in_the_order_of_names(site: Site) -> None:
    _paged(site, _rows(3))
    assert _names(site.entered().get("/ui/volumes").text) == ["v0001", "v0002", "v0003"]


def test_every_volume_is_on_one_page_of_many(site: Site) -> None:
    _paged(site, _rows(250))
    browser, seen, path = site.entered(), [], "/ui/volumes?vmgroup=g"
    for _ in range(2):
        text = browser.get(path).text
        seen += _names(text)
        path = _next(text)
        assert "vmgroup=g" in path
    last = browser.get(path).text
    assert 'rel="next"' not in last
    assert sorted([*seen, *_names(last)]) == [f"v{number + 1:04}" for number in range(250)]


def test_sorted_means_all_of_them_and_not_those_of_one_page(site: Site) -> None:
    _paged(site, _rows(250))
    browser = site.entered()
    first = browser.get("/ui/volumes?sort=name").text
    assert _names(first) == [f"v{number + 1:04}" for number in range(100)]
    assert _names(browser.get(_next(first)).text) == [f"v{number + 101:04}" for number in range(100)]
    assert _names(browser.get("/ui/volumes?sort=-capacity").text)[0] == "v0001"
    assert 'aria-sort="ascending"' in first


def test_a_list_that_is_sorted_says_where_one_is_and_leads_both_ways(site: Site) -> None:
    _paged(site, _rows(250))
    browser = site.entered()
    middle = browser.get("/ui/volumes?sort=name&from=100").text
    assert "101 to 200 of 250" in middle
    assert '<a href="/ui/volumes?sort=name&amp;from=0" rel="prev">Previous page</a>' in middle
    assert "201 to 250 of 250" in browser.get(_next(middle)).text


def test_a_list_in_no_order_says_so_rather_than_look_like_one(site: Site) -> None:
    _paged(site, _rows(250))
    assert "In no order: choose a column to sort them all." in site.entered().get("/ui/volumes").text
    _paged(site, _rows(3))
    assert "In no order" not in site.entered(name="bob").get("/ui/volumes").text


@pytest.mark.parametrize(
    ("sort", "shown", "then"),
    [
        ("name", "ascending", "-name"),
        ("-name", "descending", "name"),
        ("-capacity", "descending", "capacity"),
        ("capacity", "ascending", "-capacity"),
    ],
)
def test_a_column_is_sorted_both_ways(site: Site, sort: str, shown: str, then: str) -> None:
    _paged(site, _rows(3))
    text = site.entered().get(f"/ui/volumes?sort={sort}").text
    assert f'aria-sort="{shown}"><a href="/ui/volumes?sort={then}">' in text
    assert _names(text) == (["v0001", "v0002", "v0003"] if sort in ("name", "-capacity") else ["v0003", "v0002", "v0001"])


def test_of_sizes_the_largest_come_first_at_the_first_click(site: Site) -> None:
    assert 'href="/ui/volumes?sort=-capacity"' in site.entered().get("/ui/volumes").text


@pytest.mark.parametrize(
    ("path", "said", "not_said"),
    [
        ("/ui/volumes", "docker volume create -d vsphere NAME", "no volume like that"),
        ("/ui/volumes?name=x", "no volume like that", "There are no volumes yet"),
    ],
)
def test_a_list_with_nothing_in_it_says_what_comes_next(site: Site, path: str, said: str, not_said: str) -> None:
    site.answers[ListAllVolumes] = VolumeRows(())
    text = site.entered().get(path).text
    assert said in text
    assert not_said not in text


def test_of_what_is_under_a_quota_it_is_said_what_is_left_and_a_quota_below_it_is_said_to_be(site: Site) -> None:
    place: Any = "ds1"
    right = RightInfo(place, True, None, 20 << 30, (), 30 << 30)
    usage = (DatastoreUsage(place, 30 << 30),)
    group = VmgroupInfo(VmgroupId(UUID(int=3)), "g", "", place, (), (), (right,), usage, 3, (), 0, 4)
    site.answers[ListVmgroups] = VmgroupPage((group,))
    for path in ("/ui/", "/ui/vmgroups"):
        text = site.entered(name=f"ann{len(path)}").get(path).text
        assert "150 %" in text
        assert "10gb too much" in text


def test_a_volume_leads_to_all_that_it_belongs_to(site: Site) -> None:
    text = site.entered().get(ONE).text
    for place in ("/ui/vmgroups/g", "/ui/datastores/ds1", "/ui/policies/gold", "/ui/volumes?vm=docker1"):
        assert f'<a href="{place}">' in text


def test_of_work_that_has_ended_it_is_said_how_long_it_took(site: Site) -> None:
    ended = replace(TASK, state=TaskState.DONE, percent=None, left_s=None, ended_at=TASK.since + 90)
    site.answers[ListTasks] = Tasks((ended, replace(ended, ended_at=TASK.since + 0.2)))
    text = site.entered().get("/ui/tasks").text
    assert ">90 seconds<" in text
    assert ">less than 1 second<" in text


@pytest.mark.parametrize("sort", ["name", "vmgroup", "datastore", "used-by", "capacity", "allocated", "policy", "state"])
def test_every_column_can_be_sorted_by_also_where_nothing_is_known(site: Site, sort: str) -> None:
    odd = replace(VOLUME, id=VolumeId(UUID(int=6)), vm=None, policy=None, allocated_bytes=None)
    site.answers[ListAllVolumes] = VolumeRows((odd, VOLUME))
    assert len(_names(site.entered().get(f"/ui/volumes?sort={sort}").text)) == 2


def test_a_filter_is_the_core_s(site: Site) -> None:
    browser = site.entered(Role.VIEWER)
    browser.get("/ui/volumes?name=d*&vmgroup=g&datastore=ds1&vm=docker1&state=trashed&trash=yes")
    [asked] = [each for each in site.asked if isinstance(each, ListAllVolumes)]
    by = Actor("ann", Role.VIEWER, "192.0.2.7")
    assert asked == ListAllVolumes(
        name="d*", vmgroup="g", datastore="ds1", vm="docker1", state=State.TRASHED, trash=True, by=by
    )


@pytest.mark.parametrize("query", ["state=gone", "sort=colour", "after=x", "sort=name&from=-1", "sort=name&from=x", "name=%ff"])
def test_a_query_that_is_none_is_refused_with_what_there_is(site: Site, query: str) -> None:
    found = site.entered().get(f"/ui/volumes?{query}")
    assert (found.status_code, heading(found)) == (400, "That cannot be meant as it was sent")


def test_a_listing_that_is_not_whole_says_so(site: Site) -> None:
    site.answers[ListAllVolumes] = VolumeRows((VOLUME,), warnings=("who has them is not known: vCenter does not answer",))
    assert "who has them is not known" in site.entered().get("/ui/volumes").text


def test_a_volume_is_shown_whole_with_what_stands_against_it(site: Site) -> None:
    text = site.entered(Role.VIEWER).get(ONE).text
    for said in ("vmdkvol volume detach db", "20gb = 21474836480 bytes", ">docker1</a>", "scsi0:1", "gold", "team=shop"):
        assert said in text
    assert "Your role may look at it only." in text


def test_a_volume_that_is_being_worked_on_shows_how_far_it_is_and_is_followed(site: Site) -> None:
    site.answers[InspectVolume] = detail(replace(VOLUME, doing=Doing.GROW, percent=43), left_s=240)
    text = site.entered().get(ONE).text
    assert 'value="43"' in text
    assert "about 4 minutes left" in text
    assert '<div id="live-volume" data-live="2">' in text


# --- tasks and health ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "followed"), [(TaskState.RUNNING, True), (TaskState.DONE, False), (TaskState.UNDONE, False)])
def test_what_has_ended_is_not_fetched_again(site: Site, state: TaskState, followed: bool) -> None:
    task = replace(TASK, state=state, percent=None, left_s=None, ended_at=None if followed else 2.0)
    site.answers[GetTask] = task
    assert ('data-live="2"' in site.entered().get(f"/ui/tasks/{TASK.id}").text) == followed


@pytest.mark.parametrize("path", ["/ui/tasks", "/ui/"])
def test_a_list_of_work_is_followed_and_slowly_where_nothing_is_done(site: Site, path: str) -> None:
    """What somebody else orders is seen without a click."""
    site.answers[ListTasks] = Tasks((TASK,))
    browser = site.entered()
    assert '<div id="live-tasks" data-live="2"' in browser.get(path).text
    site.answers[ListTasks] = Tasks(())
    assert '<div id="live-tasks" data-live="10"' in browser.get(path).text


def test_health_says_each_finding_with_what_to_do(site: Site) -> None:
    site.answers[ReadVitals] = Vitals(False, (Finding(FAIL, "database", "it is full", "make room"),))
    text = site.entered().get("/ui/health").text
    for said in ("not ready", "FAIL", "database", "it is full", "make room", "a disk is lost"):
        assert said in text


def test_every_question_of_a_page_has_an_id_of_its_own_and_the_mark_of_the_request(site: Site) -> None:
    browser = site.entered()
    found = browser.get("/ui/")
    assert len(set(site.calls)) == len(site.calls) == 4
    assert {str(call)[:18] for call in site.calls} == {found.headers["X-Request-Id"][:18]}
