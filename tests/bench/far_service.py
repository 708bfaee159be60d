"""A service for machines elsewhere, whose requests do nothing: what is measured is the channel alone.

Run as ``python -m tests.bench.far_service DIRECTORY MACHINES [SPOIL]``. It says where it listens and which certificates there
are, and ends with its input. It has the product's reception, server and TLS, and the process settings of the product's service.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.doubles.certificates import Authority, vm_of
from vmdkvol.channel import Address, TcpAddress, UnixAddress
from vmdkvol.clock import SystemClock
from vmdkvol.messages import Attachments, Call, Hello, Request
from vmdkvol.volume import VmId
from vmdkvol_esx.callers import Caller, Proof
from vmdkvol_esx.daemon import _SWITCH_S as SWITCH_S
from vmdkvol_esx.server import Server

_KEPT: list[bytearray] = []
_LOCK = threading.Lock()


def identify(proof: Proof, hello: Hello) -> Caller:
    assert proof.vm is not None or proof.certificate is not None
    vm = proof.vm or vm_of(proof.certificate or b"")
    return Caller(vm, f"vm-{vm.int}")


def answering(spoil: str, local: VmId) -> Callable[[Request[Any], Call], Attachments]:
    """Return what answers each request. ``busy``: it computes for machines elsewhere; ``alone``: one at a time, for 3 ms."""

    def answer(_: Request[Any], call: Call) -> Attachments:
        if spoil == "busy" and call.caller != local:
            end = time.thread_time() + 0.003
            while time.thread_time() < end:
                pass
        if spoil == "alone":
            with _LOCK:
                time.sleep(0.003)
        return Attachments(())

    return answer


def main(directory: Path, machines: int, spoil: str) -> None:
    authority = Authority(directory)
    local, *others = (VmId(UUID(int=number + 1)) for number in range(machines + 1))
    certificates = [str(authority.agent(vm)) for vm in others]
    unix = UnixAddress(directory / "unix.sock")
    sys.setswitchinterval(SWITCH_S)
    sockets: dict[Address, VmId | None] = {unix: local, TcpAddress("127.0.0.1", 0): None}

    def identified(proof: Proof, hello: Hello) -> Caller:
        if spoil == "bloat":
            _KEPT.append(bytearray(b"x" * (1 << 20)))
        return identify(proof, hello)

    secure = authority.service_side()
    server = Server(sockets, answering(spoil, local), identified, SystemClock(), secure=secure).start()
    gc.collect()
    gc.freeze()
    tcp = next(address for address in server.addresses if isinstance(address, TcpAddress))
    told = {"unix": str(unix), "tcp": str(tcp), "authority": str(authority.path), "certificates": certificates}
    print(json.dumps(told), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), "".join(sys.argv[3:]))
