"""What a search of a datastore found, as servers may tell it."""

from __future__ import annotations

from typing import Any

import pytest
from pyVmomi import vim

from vmdkvol.errors import TruthUnknown
from vmdkvol_esx.vsphere.files import ALL, FEW, entries, patterns

B = vim.host.DatastoreBrowser


def folder(path: str, *files: Any) -> Any:
    return B.SearchResults(folderPath=path, file=list(files))


def found(*folders: Any, datastore: str = "ds1") -> dict[str, Any]:
    return entries(datastore, folders, "listing", lambda info: info.fileSize)


@pytest.mark.parametrize("path", ["[ds1] vmdkvol", "[ds1] vmdkvol/", "[ds1]vmdkvol/"])
def test_files_have_their_path_below_the_datastore(path: str) -> None:
    assert found(folder(path, B.FileInfo(path="a.label", fileSize=5))) == {"vmdkvol/a.label": 5}


def test_folders_of_all_depths_are_put_together_and_are_no_files_themselves() -> None:
    top = folder("[ds1] vmdkvol", B.FolderInfo(path="g", fileSize=1), B.FileInfo(path="a", fileSize=2))

    assert found(folder("[ds1] vmdkvol/g", B.FileInfo(path="b", fileSize=3)), top) == {"vmdkvol/a": 2, "vmdkvol/g/b": 3}


@pytest.mark.parametrize("first", [0, 1])
def test_what_comes_as_a_disk_and_as_a_file_is_a_disk(first: int) -> None:
    both = [B.VmDiskInfo(path="a.vmdk", fileSize=1 << 20), B.FileInfo(path="a.vmdk", fileSize=500)]

    assert found(folder("[ds1] vmdkvol", both[first], both[1 - first])) == {"vmdkvol/a.vmdk": 1 << 20}


def test_an_answer_for_another_datastore_is_none_of_this_one() -> None:
    with pytest.raises(TruthUnknown, match="renamed"):
        found(folder("[renamed] vmdkvol", B.FileInfo(path="a", fileSize=1)))


def test_what_nothing_is_said_of_lacks() -> None:
    assert found(folder("[ds1] vmdkvol", B.FileInfo(path="a"))) == {}


def test_a_folder_without_files_has_none() -> None:
    assert found(B.SearchResults(folderPath="[ds1] vmdkvol")) == {}


def test_a_few_files_are_searched_for_by_their_names_and_not_with_all_that_lies_beside_them() -> None:
    assert patterns(["a.vmdk", "b.vmdk"]) == ["a.vmdk", "b.vmdk"]


def test_for_many_files_the_folder_is_listed_once() -> None:
    assert patterns([f"{number}.vmdk" for number in range(FEW + 1)]) == ALL
