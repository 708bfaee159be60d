"""What befalls a site on vSphere, and what is put in wrongly: the test that shows each, and whose code checks us in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1] / "vsphere"

BEFALLS: tuple[tuple[str, str], ...] = (
    ("the password is wrong: no storm of logins", "test_session.py::test_a_wrong_password_is_tried_once_in_30_s"),
    ("the server ends the session", "test_session.py::test_after_the_server_ended_the_session_a_device_list_is_not_empty"),
    ("a certificate is foreign or has expired", "test_certificates.py::test_a_foreign_authority_is_refused"),
    ("a pin is wrong, on loopback too", "test_certificates.py::test_a_wrong_pin_is_refused_on_loopback"),
    (
        "the peer takes connections and is silent",
        "test_broken_lines.py::test_a_call_ends_at_its_deadline_whatever_the_peer_does",
    ),
    ("an answer cannot be read", "test_broken_lines.py::test_an_answer_that_cannot_be_read_leaves_a_change_in_doubt"),
    ("the answer to a change is lost", "test_life.py::test_a_change_whose_answer_is_lost_is_settled_by_looking_and_sent_once"),
    ("vCenter is restarted", "test_session.py::test_a_restarted_server_is_found_again"),
    (
        "vCenter is restarted in mid-task",
        "test_tasks.py::test_after_a_restart_of_the_server_its_tasks_are_unknown_and_new_ones_are_waited_for",
    ),
    (
        "a task never ends",
        "test_refused_reconfigures.py::test_a_task_that_never_ends_is_still_working_and_holds_nobody_up_for_ever",
    ),
    ("a task vanishes", "test_refused_reconfigures.py::test_a_task_that_vanishes_is_unknown"),
    ("another task has the VM", "test_refused_reconfigures.py::test_what_passes_is_tried_again"),
    (
        "the VM's configuration changes meanwhile",
        "test_refused_reconfigures.py::test_a_configuration_that_changed_since_it_was_read_is_read_again",
    ),
    ("one disk of a batch is bad", "test_attaching.py::test_one_bad_disk_of_a_batch_fails_alone"),
    (
        "the VM has no PVSCSI controller",
        "test_attaching.py::test_a_machine_without_a_pvscsi_controller_gets_one_in_the_same_reconfigure",
    ),
    ("the VM is full", "test_refused_reconfigures.py::test_sixty_disks_are_all"),
    (
        "a running VM has the disk",
        "test_life.py::test_a_disk_that_another_host_uses_is_refused_before_any_reconfigure_and_the_holder_is_named",
    ),
    (
        "somebody attached it to a VM by hand",
        "test_life.py::test_a_disk_that_somebody_attached_to_a_machine_of_his_is_named_and_left_alone",
    ),
    ("a snapshot is in the way", "test_life.py::test_a_snapshot_keeps_the_disk_and_nothing_of_it_is_broken"),
    ("the VM is switched off", "test_life.py::test_a_disk_leaves_a_machine_that_is_switched_off_as_soon_as_that_is_heard"),
    ("... and destroyed", "test_life.py::test_a_machine_that_is_destroyed_after_it_was_switched_off_takes_no_disk_along"),
    (
        "... and destroyed before anybody looked",
        "test_life.py::test_a_disk_that_was_destroyed_with_its_machine_is_lost_and_not_unknown",
    ),
    ("its host is disconnected: no proof", "test_life.py::test_a_machine_out_of_reach_keeps_its_disk_until_it_is_seen_again"),
    ("HA restarts it elsewhere; vMotion", "test_life.py::test_a_machine_that_was_restarted_on_another_host_has_what_it_had"),
    ("Storage vMotion renames the disk's file", "test_life.py::test_a_disk_that_was_moved_is_followed_and_used_where_it_lies"),
    ("a datastore is renamed", "test_life.py::test_a_renamed_datastore_is_the_same_before_and_after_a_restart"),
    ("a datastore is full", "test_disks.py::test_a_full_datastore_takes_not_even_a_label"),
    ("a datastore is inaccessible", "test_life.py::test_a_datastore_out_of_reach_loses_no_volume_and_takes_none"),
    ("a datastore is read-only", "test_disks.py::test_nothing_is_written_on_a_read_only_datastore"),
    ("a top folder on vSAN", "test_folders.py::test_on_vsan_the_top_folder_is_made_by_the_namespace_manager"),
    ("a policy is unknown", "test_policies.py::test_an_unknown_name_lists_the_known_ones"),
    (
        "a policy does not fit the datastore",
        "test_policies.py::test_a_policy_that_does_not_fit_the_datastore_is_refused_with_the_servers_reason",
    ),
    (
        "somebody lays another policy on a disk",
        "test_compliance.py::test_another_policy_that_somebody_laid_on_is_seen_without_a_wait",
    ),
    (
        "a policy is refused at an attach: the disk comes without",
        "test_compliance.py::test_an_attach_that_is_refused_with_its_policy_is_made_without",
    ),
    (
        "the policy service is away: no list and no mount fails",
        "test_policy_commands.py::test_a_volume_is_mounted_though_the_policy_service_fails_and_its_policy_stays_pending",
    ),
    (
        "names with blanks, brackets, percent signs, Unicode",
        "test_odd_names.py::test_a_volumes_life_on_a_datastore_of_any_name",
    ),
    (
        "the service dies behind any call",
        "test_disk_deaths.py::test_after_a_death_behind_any_call_nothing_is_lost_and_nothing_is_left",
    ),
)


def rows() -> Iterator[tuple[str, ...]]:
    """Yield what befalls, the test, and ``pure`` (foreign code checks us) or ``injected`` (our own additions do)."""
    for what, test in BEFALLS:
        file, _, name = test.partition("::")
        yield what, f"`tests/vsphere/{test}`", _kinds(file)[name]


@cache
def _kinds(file: str) -> dict[str, str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    marks = [ast.unparse(node.value) for node in tree.body if isinstance(node, ast.Assign) and _names(node) == ["pytestmark"]]
    kinds = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            told = " ".join([*map(ast.unparse, node.decorator_list), *marks])
            # A test has one of the two marks, or its conftest refuses it.
            kinds[node.name] = "pure" if re.search(r"(\b|_)pure\b", told) else "injected"
    return kinds


def _names(node: ast.Assign) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)]
