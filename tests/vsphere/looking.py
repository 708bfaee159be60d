"""What a simulator holds, seen from outside by bare pyVmomi: ``python -m tests.vsphere.looking WORLD [VM [enable-uuid]]``.

WORLD is a JSON file with what ``outside`` needs. Prints the VMs with their instance UUIDs, or the disks of one VM; with
``enable-uuid`` it sets, as an administrator does, what lets a guest find its disks by their identity.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pyVmomi import vim

from tests.vsphere.outside import View, attached, done, outside


def main(file: str, name: str = "", do: str = "") -> None:
    with outside(View(**json.loads(Path(file).read_text()))) as world:
        for vm in world.machines():
            if vm.name == name and do == "enable-uuid":
                option = vim.option.OptionValue(key="disk.EnableUUID", value="TRUE")
                done(vm.ReconfigVM_Task(vim.vm.ConfigSpec(extraConfig=[option])))
            if not name:
                print(vm.name, vm.config.instanceUuid)
            for disk in attached(vm) if vm.name == name else ():
                print(f"{disk.backing.fileName}  unit {disk.unitNumber}, {disk.backing.diskMode}, uuid {disk.backing.uuid}")


if __name__ == "__main__":
    main(*sys.argv[1:])
