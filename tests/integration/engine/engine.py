"""A real Docker engine of our own, in a ``Machine``: own data, own sockets, own control groups, no network."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from pathlib import Path

from tests.integration.engine.builds import OWN, Build
from tests.integration.engine.machine import Machine, wait_until

IMAGE = "busybox"
_CONTAINERD = """version = 2
root = "{data}/containerd"
state = "{run}/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = "{run}/containerd.sock"
"""


class Engine:
    """dockerd and its containerd. Several of them may run in one machine, with the plugin directory in common."""

    def __init__(self, machine: Machine, name: str = "a", *options: str, build: Build = OWN) -> None:
        self.machine = machine
        self.name = name
        self.build = build
        self._options = options
        self._data = machine.root / f"engine-{name}"
        self._run = f"{machine.run_directory}/engine-{name}"
        self._cgroup = f"/vmdkvol-{machine.root.name}-{name}"
        self._dockerd = 0
        self._containerd = 0
        self.host = f"unix://{self._run}/docker.sock"
        machine.at_end.append(self._forget_cgroups)

    def start(self, *, live_restore: bool = False) -> None:
        """Return when the engine answers. containerd comes first: dockerd gives one of its own only 15 s."""
        self._start_containerd()
        config = self._data / "daemon.json"
        config.write_text("{}\n")
        options = ["--config-file", str(config), "--containerd", f"{self._run}/containerd.sock", "--host", self.host]
        options += ["--data-root", str(self._data / "data"), "--exec-root", f"{self._run}/exec"]
        options += ["--pidfile", f"{self._run}/docker.pid", "--cgroup-parent", self._cgroup]
        options += ["--exec-opt", "native.cgroupdriver=cgroupfs", "--bridge=none", "--iptables=false", "--ip6tables=false"]
        options += ["--ip-forward=false", "--ip-masq=false", f"--live-restore={str(live_restore).lower()}"]
        self.machine.run("rm", "-f", f"{self._run}/docker.pid")
        command = [self.build.program("dockerd"), *options, *self._options]
        self._dockerd = self.machine.spawn(command, self._data / "dockerd.log", self.build.env)
        wait_until(self._answers, f"engine {self.name} answers; see {self._data}/dockerd.log", 60)

    def _start_containerd(self) -> None:
        if self._containerd and self.machine.alive(self._containerd):
            return
        self._data.mkdir(parents=True, exist_ok=True)
        self.machine.run("mkdir", "-p", self._run)
        config = self._data / "containerd.toml"
        config.write_text(_CONTAINERD.format(data=self._data, run=self._run))
        command = [self.build.program("containerd"), "--config", str(config)]
        self._containerd = self.machine.spawn(command, self._data / "containerd.log", self.build.env)
        socket = f"{self._run}/containerd.sock"
        wait_until(lambda: self.machine.listens(socket), f"containerd of engine {self.name} listens", 60)

    def _answers(self) -> bool:
        if not self.machine.alive(self._dockerd):
            log = (self._data / "dockerd.log").read_text(errors="replace")
            raise AssertionError(f"engine {self.name} ended:\n{log[-3000:]}")
        return self.docker("version", check=False, timeout_s=20).returncode == 0

    def stop(self, timeout_s: float = 90.0) -> None:
        """End the engine as an administrator does: it stops its containers first, unless live-restore is on."""
        self.machine.kill(self._dockerd, signal.SIGTERM, timeout_s)

    def kill9(self) -> None:
        """End the engine at once; its containers go on running."""
        self.machine.kill(self._dockerd, signal.SIGKILL)

    def restart(self, *, live_restore: bool = False) -> None:
        self.stop()
        self.start(live_restore=live_restore)

    def docker(self, *argv: str, check: bool = True, timeout_s: float = 90.0) -> subprocess.CompletedProcess[str]:
        """Run one ``docker`` command against this engine."""
        command = [self.build.program("docker"), "--host", self.host, *argv]
        return self.machine.run(*command, check=check, timeout_s=timeout_s, env=self.build.env)

    def said(self, *argv: str) -> str:
        """Run one ``docker`` command that must work; return its output without the last line end."""
        return self.docker(*argv).stdout.rstrip("\n")

    def refused(self, *argv: str) -> str:
        """Run one ``docker`` command that must fail; return what it wrote to its error output."""
        done = self.docker(*argv, check=False)
        assert done.returncode != 0, f"docker {' '.join(argv)} worked: {done.stdout}"
        return done.stderr

    def import_busybox(self) -> None:
        """Make the image from the machine's static busybox: nothing is pulled."""
        archive = self._data / "busybox.tar"
        if not archive.exists():
            make_busybox(self._data / "rootfs", archive)
        self.docker("import", str(archive), IMAGE)

    def log(self) -> str:
        return (self._data / "dockerd.log").read_text(errors="replace")

    def _forget_cgroups(self) -> None:
        """Remove the empty control groups that a killed engine leaves."""
        for root in Path("/sys/fs/cgroup").glob(f"*{self._cgroup}"):
            _remove_tree(root)
        _remove_tree(Path("/sys/fs/cgroup" + self._cgroup))


def _remove_tree(group: Path) -> None:
    """Control groups are removed leaf by leaf with rmdir; one that is in use stays."""
    if not group.is_dir():
        return
    for child in [entry for entry in group.iterdir() if entry.is_dir()]:
        _remove_tree(child)
    with contextlib.suppress(OSError):
        group.rmdir()


def make_busybox(rootfs: Path, archive: Path) -> None:
    """Write a root file system whose only program is the static busybox, with a directory that has content."""
    program = shutil.which("busybox")
    if program is None:
        raise AssertionError("busybox is missing: apt-get install busybox-static")
    for directory in ("bin", "etc", "tmp", "seeded"):
        (rootfs / directory).mkdir(parents=True, exist_ok=True)
    (rootfs / "seeded" / "from-the-image").write_text("seed\n")
    (rootfs / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    (rootfs / "etc" / "group").write_text("root:x:0:\n")
    shutil.copy2(program, rootfs / "bin" / "busybox")
    applets = subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout.split()
    for applet in applets:
        link = rootfs / "bin" / applet
        if not link.exists():
            link.symlink_to("busybox")
    subprocess.run(["tar", "-C", str(rootfs), "-cf", str(archive), "."], check=True)
