"""Defects of the agent, and of what both sides share."""

from __future__ import annotations

from tests.mutants.mutant import AGENT, By, Mutant

_UNIT = "tests/unit/guest"

MUTANTS = (
    Mutant(
        "no-claim-before-the-detach",
        "a disk is detached without the exclusive open that proves that nobody here has it",
        f"{AGENT}/releasing.py",
        "            with parts.devices.claim(device, self._claim_deadline()):\n                parts.at(",
        "            if True:\n                parts.at(",
        ("I2",),
        (f"{_UNIT}/test_reconcile.py",),
    ),
    Mutant(
        "detach-before-the-claim",
        "the service is asked to detach first, and the exclusive open comes after it",
        f"{AGENT}/releasing.py",
        """        self._forget_device(attachment)
        parts.at(Point.RELEASE_FORGOTTEN)
        # No claim any more: on the local hypervisor the detach tests O_EXCL itself (corrections 3).
        try:
            parts.ask(Detach(volume, attachment.generation), parts.limits.release_s)
        except StaleRequest:
            self._detach_newer(volume)
""",
        """        try:
            parts.ask(Detach(volume, attachment.generation), parts.limits.release_s)
        except StaleRequest:
            self._detach_newer(volume)
        self._forget_device(attachment)
        parts.at(Point.RELEASE_FORGOTTEN)
""",
        ("I2",),
        (f"{_UNIT}/test_reconcile.py",),
    ),
    Mutant(
        "what-is-being-made-is-kept",
        "with the service away Docker is told that a volume is there whose making may have failed since",
        f"{AGENT}/catalogue.py",
        "            made = [info for info in kept if info.state is not State.PREPARING]\n",
        "            made = kept\n",
        ("I6",),
        (f"{_UNIT}/test_driver.py::test_a_volume_that_was_being_made_when_the_service_went_away_is_not_said_to_be_there",),
        By.TESTS,
    ),
    Mutant(
        "remove-under-a-holder",
        "a volume that a container of this host holds is removed",
        f"{AGENT}/releasing.py",
        "        if ids:\n            raise",
        "        if False:\n            raise",
        ("I1", "I6"),
        (f"{_UNIT}/test_driver.py",),
    ),
    Mutant(
        "formatted-before-mkfs",
        "the record says formatted before mkfs has run",
        f"{AGENT}/mounting.py",
        "        parts.at(Point.FORMAT_MARKED)\n",
        "        self._mark(attachment, Content.FORMATTED, uuid)\n        parts.at(Point.FORMAT_MARKED)\n",
        ("I1", "I5"),
        (f"{_UNIT}/test_crash_points.py",),
    ),
    Mutant(
        "formatted-is-not-recorded",
        "a new file system is handed to a container, and the record still says that it is being made",
        f"{AGENT}/mounting.py",
        "        self._mark(attachment, Content.FORMATTED, uuid)\n        parts.at(",
        "        parts.at(",
        ("I1",),
        (f"{_UNIT}/test_mounting.py",),
    ),
    Mutant(
        "format-without-the-probe",
        "a disk that is not recorded as formatted is taken for blank without a look at it",
        f"{AGENT}/mounting.py",
        "        probe = parts.filesystems.probe(device, recorded=recorded if made else None)\n",
        "        probe = parts.filesystems.probe(device, recorded=recorded) if made else Probe(None, None)\n",
        ("I1",),
        (f"{_UNIT}/test_mounting.py",),
    ),
    Mutant(
        "format-though-the-record-says-formatted",
        "a file system is made anew on a disk whose record says that a container had it",
        f"{AGENT}/formatting.py",
        "    if attachment.content is not Content.FORMATTED:\n",
        "    if attachment.content is not Content.FORMATTED or not busy:\n",
        ("I1",),
        (f"{_UNIT}/test_tables.py",),
    ),
    Mutant(
        "somebody-elses-file-system-is-wiped",
        "what lies on a disk that is being formatted is wiped, whosever it is",
        f"{AGENT}/formatting.py",
        "    if attachment.filesystem_uuid is not None and probe == Probe("
        "attachment.options.fstype, attachment.filesystem_uuid):\n",
        "    if attachment.filesystem_uuid is not None:\n",
        ("I1",),
        (f"{_UNIT}/test_tables.py",),
    ),
    Mutant(
        "another-file-system-is-mounted",
        "a container is given a file system that is not the one on record",
        f"{AGENT}/formatting.py",
        "    if attachment.filesystem_uuid is not None and probe.uuid != attachment.filesystem_uuid:\n",
        "    if False:\n",
        ("I1",),
        (f"{_UNIT}/test_tables.py",),
    ),
    Mutant(
        "a-clone-keeps-its-sources-uuid",
        "a clone is recorded with a UUID of its own and keeps its source's",
        f"{AGENT}/mounting.py",
        "        parts.filesystems.renew_uuid(device, fstype, uuid)\n",
        "",
        ("I1",),
        (f"{_UNIT}/test_mounting.py",),
    ),
    Mutant(
        "anything-on-a-clone-is-taken-for-a-copy",
        "a clone's disk is given a UUID of its own and handed out, whatever lies on it before its first mount",
        f"{AGENT}/formatting.py",
        "    return _not_copied(attachment, probe) if attachment.filesystem_uuid is None else None\n",
        "    return None\n",
        ("I1",),
        (f"{_UNIT}/test_tables.py", f"{_UNIT}/test_mounting.py"),
    ),
    Mutant(
        "a-note-that-says-mounted-is-believed",
        "a Mount is answered from the agent's own note, without a look at the kernel",
        f"{AGENT}/mounting.py",
        "        if number is None or attachment is None or attachment.content",
        "        if attachment is not None and attachment.content is Content.FORMATTED:\n"
        "            return self._parts.mounts.path(volume, attachment.options.layout)\n"
        "        if number is None or attachment is None or attachment.content",
        ("I6",),
        (f"{_UNIT}/test_mounting.py",),
    ),
    Mutant(
        "no-holder-before-the-answer",
        "a Mount is answered, and its holder is noted nowhere",
        f"{AGENT}/mounting.py",
        "                parts.notebook.hold(volume, mount_id)\n",
        "",
        ("I6", "I2"),
        (f"{_UNIT}/test_mounting.py",),
    ),
    Mutant(
        "a-failed-mount-keeps-its-holder",
        "a Mount that was refused leaves a holder that nobody will ever give back",
        f"{AGENT}/mounting.py",
        "            undo.append(partial(self._give_up, volume, mount_id))\n",
        "",
        ("I3",),
        (f"{_UNIT}/test_mounting.py",),
    ),
    Mutant(
        "an-unmount-keeps-its-holder",
        "an Unmount is answered, and its holder stays",
        f"{AGENT}/mounting.py",
        "        parts.notebook.drop(volume, mount_id)\n",
        "",
        ("I3", "I6"),
        (f"{_UNIT}/test_mounting.py",),
    ),
    Mutant(
        "unmount-under-other-holders",
        "the first container that stops takes the volume from the others",
        f"{AGENT}/mounting.py",
        "        if (noted is not None and noted.ids) or parts.arrivals.ids(volume):\n            return\n",
        "",
        ("I6", "I2"),
        (f"{_UNIT}/test_mounting.py",),
    ),
    Mutant(
        "the-last-holder-unmounts-nothing",
        "the last container stops, Docker is answered, and the volume stays mounted",
        f"{AGENT}/mounting.py",
        "            parts.mounts.unmount(volume)\n            parts.at(Point.UNMOUNT_UNMOUNTED)\n",
        "",
        ("I3", "I5", "I6"),
        (f"{_UNIT}/test_mounting.py",),
    ),
    Mutant(
        "an-umount-error-is-ignored",
        "an umount that failed is answered as if it had worked",
        f"{AGENT}/mounting.py",
        "            parts.mounts.unmount(volume)\n            parts.at(Point.UNMOUNT_UNMOUNTED)\n",
        "            try:\n"
        "                parts.mounts.unmount(volume)\n"
        "            except StillMounted:\n"
        "                pass\n"
        "            parts.at(Point.UNMOUNT_UNMOUNTED)\n",
        ("I6",),
        (f"{_UNIT}/test_mounting.py",),
    ),
    Mutant(
        "mkfs-without-the-claim",
        "a file system is made or checked without the exclusive open of the device before it",
        f"{AGENT}/mounting.py",
        "        busy = self._busy(device)\n",
        "        busy = False\n",
        ("I1",),
        (f"{_UNIT}/test_mounting.py", f"{_UNIT}/test_crash_points.py"),
        By.TESTS,
    ),
    Mutant(
        "the-disk-is-not-looked-at-again",
        "the device is not identified again before mkfs, and after the mount",
        f"{AGENT}/mounting.py",
        "        if self._parts.devices.find(attachment, self._within(0.0)) != device:\n",
        "        if False:\n",
        ("I1",),
        (f"{_UNIT}/test_mounting.py",),
        By.TESTS,
    ),
    Mutant(
        "the-linger-fires-while-held",
        "the disk of a running container is unmounted and detached when the linger is over",
        f"{AGENT}/reconcile.py",
        "            held=bool(holdings.ids),",
        "            held=False,",
        ("I6", "I2"),
        (f"{_UNIT}/test_reconcile.py",),
    ),
    Mutant(
        "the-linger-never-ends",
        "a disk that nobody uses stays attached until another host wants it",
        f"{AGENT}/plan.py",
        "    if facts.lingering and not facts.wanted:\n",
        "    if not facts.wanted:\n",
        ("I3",),
        (f"{_UNIT}/test_tables.py",),
    ),
    Mutant(
        "holders-go-without-proof-after-an-engine-crash",
        "an engine comes back, and holders are dropped while containers still have the volume",
        f"{AGENT}/reconcile.py",
        "        if device is None or self._parts.mounts.users(device):\n",
        "        if device is None:\n",
        ("I6", "I2"),
        (f"{_UNIT}/test_reconcile.py",),
    ),
    Mutant(
        "an-attachment-of-a-lost-answer-is-nobodys",
        "a disk that was attached without the agent's hearing of it stays attached for ever",
        f"{AGENT}/plan.py",
        "        return Step.ADOPT if facts.said is Said.HERE else Step.FORGET\n",
        "        return Step.FORGET\n",
        ("I3",),
        (f"{_UNIT}/test_tables.py",),
    ),
    Mutant(
        "unknown-is-said-as-absent",
        "the service is away, and Get says that there is no such volume",
        f"{AGENT}/answers.py",
        "            return Answer.ABSENT if anonymous else Answer.HANG_UP",
        "            return Answer.ABSENT",
        ("I6",),
        (f"{_UNIT}/test_tables.py",),
    ),
    Mutant(
        "list-shows-what-is-being-made",
        "List shows a volume whose disk is still being made",
        f"{AGENT}/answers.py",
        "    return info.state in LIVE_STATES and info.state is not State.PREPARING\n",
        "    return info.state in LIVE_STATES\n",
        ("I6",),
        (f"{_UNIT}/test_driver.py", f"{_UNIT}/test_tables.py"),
    ),
    Mutant(
        "list-shows-what-was-removed",
        "an answer that was on its way brings a removed volume back into List",
        f"{AGENT}/catalogue.py",
        "            kept = [info for info in infos if self._removed.get(info.id, 0) <= ticket]\n",
        "            kept = list(infos)\n",
        ("I6",),
        (f"{_UNIT}/test_driver.py",),
        By.TESTS,
    ),
    Mutant(
        "the-id-of-a-removed-volume-is-kept",
        "a name that was removed and made anew by another host cannot be mounted",
        f"{AGENT}/driver.py",
        "                self._catalogue.forget(volume)\n                return self._mounting.mount(",
        "                raise\n                return self._mounting.mount(",
        ("I6",),
        (f"{_UNIT}/test_driver.py",),
    ),
    Mutant(
        "remove-of-an-earlier-volume-of-that-name",
        "a Remove is answered for a volume that had the name before, and the one that has it stays",
        f"{AGENT}/driver.py",
        "        self._release(volume)\n"
        "        # The id may be the catalogue's alone: of one that is gone, or in the trash, "
        "the service says that it is removed.\n"
        "        self._check_name(ref, volume)\n",
        "        self._release(volume)\n",
        ("I6",),
        (f"{_UNIT}/test_driver.py",),
    ),
    Mutant(
        "a-get-that-waits-for-a-service-that-hangs",
        "Get waits for a service that hangs for longer than Docker does",
        f"{AGENT}/catalogue.py",
        "self.resolve(ref, self._parts.limits.get_s)",
        "self.resolve(ref, self._parts.limits.look_s)",
        ("I8",),
        (f"{_UNIT}/test_driver.py",),
    ),
    Mutant(
        "calls-wait-for-ever",
        "a call waits for slow work of its volume for longer than Docker does",
        "vmdkvol/lanes.py",
        '                    raise StillWorking(f"{doing} takes longer than Docker waits")\n',
        "                    deadline = Deadline.after(self._clock, 60.0)\n",
        ("I8",),
        ("tests/unit/shared/test_lanes.py",),
    ),
    Mutant(
        "two-at-once-in-a-lane",
        "two different pieces of work of one volume run at the same time",
        "vmdkvol/lanes.py",
        "            lane = self._lanes.get(key)\n            if lane and",
        "            key = (key, equal)\n            lane = self._lanes.get(key)\n            if lane and",
        ("I1", "I2", "I6"),
        ("tests/unit/shared/test_lanes.py",),
    ),
)
