"""Files on datastores: read and written over HTTP, moved, deleted and listed by tasks of the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pyVmomi import vim

from vmdkvol.clock import Deadline
from vmdkvol.errors import NoSpace, OutcomeUnknown, TruthUnknown, UnknownTask, VolumeError
from vmdkvol.messages import untold
from vmdkvol_esx.ports import TaskId
from vmdkvol_esx.vsphere import framed, spelling, transfers
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.faults import Meaning
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.sites import Place
from vmdkvol_esx.vsphere.tasks import Waiter

_LIMIT = framed.MAX_BYTES + framed.MAX_HEAD
# A datastore with less than that is full: a file of ours came back shorter than it was sent.
_ROOM = 1 << 20
# The pattern of every file, and how many are searched for by their names.
ALL = ("*",)
FEW = 100


@dataclass(frozen=True, slots=True)
class File:
    """One file of a listing; ``modified`` is the server's own text of when it was last written."""

    size_bytes: int
    modified: str


@dataclass(frozen=True, slots=True)
class Described:
    """What the server reads from a disk itself: bytes, the class of its backing, whether it is thin; None: not said."""

    size_bytes: int | None
    kind: str | None
    thin: bool | None


def means(error: VolumeError, meaning: Meaning) -> bool:
    """Tell whether the server's fault behind ``error`` means this."""
    return error.fields.get("meaning") == meaning.name


class Files:
    """Paths are relative to the place's root. Safe for any number of threads."""

    def __init__(self, session: Session[Service], waiter: Waiter) -> None:
        self._session = session
        self._waiter = waiter

    def get(self, place: Place, path: str, deadline: Deadline) -> bytes | None:
        """Return the file's bytes; None if the server knows no such file there. At most ``framed.MAX_BYTES`` and its line."""
        what = f"reading {place.path(path)}"
        return self._session.read(what, lambda service: transfers.get(service, place.url(path), _LIMIT), deadline)

    def put(self, place: Place, path: str, content: bytes, deadline: Deadline, operation: UUID | None = None) -> None:
        """Write the file and read it back: afterwards it has these bytes. Killed in between, or on an error, any part of them.

        OutcomeUnknown if that is not known; NoSpace if the datastore took only a part. The folder must be there (VolumeLost).
        """
        what = f"writing {place.path(path)}"
        told = "" if operation is None else str(operation)
        doubt: VolumeError | None = None
        try:
            self._session.change(
                what, lambda service: transfers.put(service, place.url(path), content), deadline, operation=told
            )
        except OutcomeUnknown as error:
            doubt = error
        try:
            found = self.get(place, path, deadline)
        except VolumeError as error:
            raise doubt or OutcomeUnknown(f"{what}: it cannot be read back: {error.text}") from error
        if found == content:
            return
        if place.free_bytes < _ROOM:
            raise NoSpace(f"{what}: the datastore is full") from doubt
        raise doubt or OutcomeUnknown(f"{what}: it was read back otherwise than it was written", remedy="look at the datastore")

    def delete(self, place: Place, path: str, deadline: Deadline, operation: UUID | None = None) -> None:
        """Afterwards there is no such file; not there before is fine."""

        def start(service: Service) -> TaskId:
            files = service.content.fileManager
            return task_of(files.DeleteDatastoreFile_Task(place.path(path), datacenter(service, place)))

        try:
            self.carry_out(f"deleting {place.path(path)}", start, deadline, operation)
        except VolumeError as error:
            if not means(error, Meaning.ABSENT):
                raise

    def move(self, place: Place, path: str, to: str, deadline: Deadline, operation: UUID | None = None) -> None:
        """Afterwards the file is at ``to``, and what was there is not; killed in the middle, at ``to`` may be nothing."""

        def start(service: Service) -> TaskId:
            files, there = service.content.fileManager, datacenter(service, place)
            return task_of(files.MoveDatastoreFile_Task(place.path(path), there, place.path(to), there, True))

        self.carry_out(f"moving {place.path(path)} to {to}", start, deadline, operation)

    def listing(
        self, place: Place, folder: str, deadline: Deadline, *, below: bool = True, names: Sequence[str] = ALL
    ) -> Mapping[str, File] | None:
        """Return every file in the folder, and ``below`` it, by its path; None if there is no such folder.

        With ``names`` those of these names alone.
        A disk's is the size that it takes on the datastore; its extent is not in the listing. TruthUnknown if it cannot be
        said: a listing is whole or none.
        """
        return self._search(place, folder, _files(names), deadline, below=below, read=_file)

    def size(self, place: Place, folder: str, name: str, deadline: Deadline) -> int | None:
        """Return the size of the disk of this file name as the server reads it from the disk itself, in bytes.

        None if the server does not say it. It opens the disk: for one whose size is known nowhere else.
        """
        found = self._search(place, folder, _one_disk(name), deadline, below=False, read=_capacity) or {}
        return found.get(f"{folder}/{name}" if folder else name)

    def described(self, place: Place, folder: str, name: str, deadline: Deadline) -> Described | None:
        """As ``size``, with what kind of disk it is; None if the server shows no disk of this file name."""
        found = self._search(place, folder, _one_disk(name, kind=True), deadline, below=False, read=_described) or {}
        return found.get(f"{folder}/{name}" if folder else name)

    def carry_out(
        self, what: str, start: Callable[[Service], TaskId], deadline: Deadline, operation: UUID | None = None
    ) -> object:
        """Return the result of a task of the server's, started by one call and waited for; OutcomeUnknown in doubt."""
        told = "" if operation is None else str(operation)
        task = self._session.change(what, start, deadline, operation=told)
        try:
            return self._waiter.wait(task, what, deadline, untold)
        except UnknownTask as error:
            raise OutcomeUnknown(f"{what}: {error.text}") from error

    def _search(
        self,
        place: Place,
        folder: str,
        spec: Any,
        deadline: Deadline,
        *,
        below: bool,
        read: Callable[[Any], Any],
    ) -> dict[str, Any] | None:
        what = f"listing {place.path(folder)}"

        def start(service: Service) -> TaskId:
            browser = vim.host.DatastoreBrowser(place.browser, service.stub)
            search = browser.SearchDatastoreSubFolders_Task if below else browser.SearchDatastore_Task
            return task_of(search(place.path(folder), spec))

        try:
            # A search changes nothing, so it may be started twice.
            task = self._session.read(what, start, deadline)
            result: Any = self._waiter.wait(task, what, deadline, untold)
        except (OutcomeUnknown, UnknownTask) as error:
            raise TruthUnknown(error.text) from error
        except VolumeError as error:
            if means(error, Meaning.ABSENT):
                return None
            raise
        if not result:
            # The folder itself is in every answer.
            raise TruthUnknown(f"{what}: the server has found nothing, not even the folder")
        return entries(place.name, result if below else [result], what, read)


def entries(datastore: str, folders: Sequence[Any], what: str, read: Callable[[Any], Any]) -> dict[str, Any]:
    """Return what ``read`` says of each file that a search found, by path; what it says nothing of lacks, folders too.

    A file that comes as a disk and as a file is a disk: the other one's size is that of its descriptor.
    """
    browser = vim.host.DatastoreBrowser
    found: dict[str, Any] = {}
    for each in folders:
        folder = spelling.folder_on(datastore, each.folderPath)
        if folder is None:
            raise TruthUnknown(f"{what}: the server answers for {each.folderPath[:60]!r}")
        for file in sorted(each.file or (), key=lambda file: isinstance(file, browser.VmDiskInfo)):
            said = None if isinstance(file, browser.FolderInfo) else read(file)
            if said is not None:
                found[f"{folder}/{file.path}" if folder else file.path] = said
    return found


def patterns(names: Sequence[str]) -> Sequence[str]:
    """Return what to search a folder for, of which these files are wanted: them, or everything if they are many.

    Ten thousand volumes have thirty thousand files in one folder, and their listing takes seconds to send and to decode.
    """
    return names if len(names) <= FEW else ALL


def _files(names: Sequence[str]) -> Any:
    browser = vim.host.DatastoreBrowser
    flags = browser.FileInfo.Details(fileType=True, fileSize=True, modification=True, fileOwner=False)
    # As disks first, so that they come as such, without their extents; then everything.
    return browser.SearchSpec(query=[browser.VmDiskQuery(), browser.Query()], details=flags, matchPattern=list(names))


def _one_disk(name: str, *, kind: bool = False) -> Any:
    browser = vim.host.DatastoreBrowser
    details = browser.VmDiskQuery.Details(capacityKb=True, diskType=kind, hardwareVersion=False, thin=kind or None)
    # Without its type a disk comes as any file, which has no capacity.
    flags = browser.FileInfo.Details(fileType=True, fileSize=False, modification=False, fileOwner=False)
    return browser.SearchSpec(query=[browser.VmDiskQuery(details=details)], details=flags, matchPattern=[name])


def _file(info: Any) -> File:
    return File(info.fileSize or 0, "" if info.modification is None else info.modification.isoformat())


def _capacity(info: Any) -> int | None:
    found = getattr(info, "capacityKb", None)
    return None if not found else int(found) << 10


def _described(info: Any) -> Described | None:
    kind, thin = getattr(info, "diskType", None), getattr(info, "thin", None)
    if not isinstance(info, vim.host.DatastoreBrowser.VmDiskInfo):
        return None
    return Described(_capacity(info), None if kind is None else kind.__name__.rpartition(".")[2], thin)


def task_of(task: Any) -> TaskId:
    """Return the id of a task that the server has started."""
    return TaskId(task._moId)


def datacenter(service: Service, place: Place) -> Any:
    """Return the datacenter of ``place`` as this session's calls want it."""
    return vim.Datacenter(place.datacenter, service.stub)
