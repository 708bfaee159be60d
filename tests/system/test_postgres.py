"""A database on a volume, under load: what it acknowledged is there, whichever part of the system dies."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.system import ready
from tests.system.container_images import POSTGRES, POSTGRES_UID
from tests.system.docker import wait_until
from tests.system.programs.pg_load import ACCOUNTS
from tests.system.told import bring, forget_told, last_told
from tests.system.world import Host, World

pytestmark = [pytest.mark.integration, pytest.mark.system]

CLIENTS = 3
# Acknowledged by each client while something is down.
MORE = 20
SOCKETS = "/run/pg"


class Database:
    """PostgreSQL in a container of a host, its data on a volume; programs of the guest reach it at ``SOCKETS``."""

    def __init__(self, host: Host, volume: str) -> None:
        self.host = host
        self._volume = volume

    def start(self) -> None:
        """Return when it takes connections: a cluster is made or recovered before."""
        self.host.guest.sh(f"mkdir -p {SOCKETS} && chmod 1777 {SOCKETS}")
        options = ("--user", f"{POSTGRES_UID}:{POSTGRES_UID}", "-v", f"{SOCKETS}:/tmp")
        self.host.docker.start("pg", self._volume, "exec start-postgres", *options, image=POSTGRES)
        self.said("i=0; until pg_isready -q -h /tmp; do [ $((i += 1)) -lt 480 ] || exit 1; sleep 0.5; done")

    def said(self, script: str) -> str:
        """Run a line of sh in the container; it must succeed."""
        ran = self.host.docker.ask("exec", "pg", "sh", "-c", script)
        assert ran.code == 0, f"{script}: {ran.code}: {ran.output}\n{self.host.docker.ask('logs', '--tail', '30', 'pg').output}"
        return ran.output.strip()

    def rows(self, query: str) -> list[tuple[int, ...]]:
        lines = self.said(f'psql -h /tmp -U postgres -qtA -F " " -c "{query}"').splitlines()
        return [tuple(map(int, line.split())) for line in lines]

    def load(self) -> None:
        """Start the clients in the guest, beside: they tell what is acknowledged until the server or the guest ends."""
        forget_told(self.host.machine)
        words = f"{SOCKETS}/.s.PGSQL.5432 /dev/{ready.acks_device(self.host.guest)} {CLIENTS}"
        program = bring(self.host.guest, "pg_load.py")
        self.host.guest.sh(f"setsid python3 -S {program} {words} >/run/pg_load.log 2>&1 </dev/null &")

    def goes_on(self, what: str) -> None:
        """Return when every client had transactions acknowledged from now on."""
        before = last_told(self.host.machine)

        def more() -> bool:
            now = last_told(self.host.machine)
            return len(now) == CLIENTS and all(now[client] >= before.get(client, 0) + MORE for client in now)

        try:
            wait_until(more, f"transactions are acknowledged {what}", 240)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.host.guest.sh('cat /run/pg_load.log')}") from None


def test_no_acknowledged_transaction_is_lost_whatever_is_killed(docker_hosts: World, a: Host, b: Host) -> None:
    a.docker.create("pg", size="500mb", uid=str(POSTGRES_UID), gid=str(POSTGRES_UID))
    database = Database(a, "pg")
    database.start()
    database.load()
    database.goes_on("with everything there")
    deaths: tuple[tuple[str, Callable[[], object], Callable[[], object]], ...] = (
        ("without the agent", a.agent.kill9, a.agent.start),
        ("without the service", docker_hosts.service.kill9, docker_hosts.service.start),
        ("without the channel", a.wire.cut, a.wire.mend),
    )

    for what, kill, heal in deaths:
        kill()
        database.goes_on(what)
        heal()
        wait_until(lambda: a.attached("pg") == "a", f"the engine is told again who has the volume, after it was {what}", 120)
    database.goes_on("after all of it")
    a.guest.cut_power()

    told = {int(client): number for client, number in last_told(a.machine).items()}
    moved = Database(b, "pg")
    moved.start()
    there = {
        client: (count, last)
        for client, count, last in moved.rows("SELECT client, count(*), max(number) FROM journal GROUP BY 1")
    }
    assert {client for client, number in told.items() if there[client][1] < number} == set()
    assert {client for client, (count, last) in there.items() if count != last} == set()
    assert moved.rows("SELECT count(*), sum(balance) FROM accounts") == [(ACCOUNTS, 0)]
    assert moved.said("pg_amcheck -h /tmp -U postgres --heapallindexed --rootdescend postgres && echo clean") == "clean"
    b.docker.said("stop", "-t", "60", "pg")
    words = ("run", "--rm", "--network", "none", "--user", f"{POSTGRES_UID}:{POSTGRES_UID}", "-v", "pg:/data", POSTGRES)
    assert "Bad checksums:  0" in b.docker.said(*words, "pg_checksums", "--check", "-D", "/data/pg")
