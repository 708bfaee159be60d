"""Defects of the channel to other machines: of what it proves, of who gets how much of it, and of its end."""

from __future__ import annotations

from tests.mutants.mutant import ESX, By, Mutant

_TLS = "tests/unit/esx/test_server_tls.py"
_SERVER = "tests/unit/esx/test_server.py"


def _defect(id: str, defect: str, file: str, old: str, new: str, invariant: str, *tests: str) -> Mutant:
    return Mutant(id, defect, file, old, new, (invariant,), tests, By.TESTS)


MUTANTS = (
    _defect(
        "any-certificate-is-the-service-s",
        "an agent that enrols says its token to whoever answers at the service's address",
        "vmdkvol/tls.py",
        "        if authority_pem is None:\n",
        "        if authority_pem is None or self._context is not None:\n",
        "I7",
        "tests/unit/shared/test_dialing.py::test_to_another_site_s_service_nothing_is_said",
    ),
    _defect(
        "an-agent-passes-for-the-service",
        "the holder of any certificate of the site can be the service for the others",
        "vmdkvol/tls.py",
        "        context = _context(ssl.PROTOCOL_TLS_CLIENT)\n        try:\n",
        "        context = _context(ssl.PROTOCOL_TLS_CLIENT)\n        context.check_hostname = False\n        try:\n",
        "I7",
        f"{_TLS}::test_what_is_not_the_site_s_service_hears_nothing",
    ),
    _defect(
        "an-older-tls-will-do",
        "a connection can be talked down to a TLS that shows the certificates to everybody",
        "vmdkvol/tls.py",
        "    context.minimum_version = ssl.TLSVersion.TLSv1_3\n",
        "    context.minimum_version = ssl.TLSVersion.TLSv1_2\n",
        "I7",
        f"{_TLS}::test_an_older_tls_is_refused",
    ),
    _defect(
        "everybody-is-admitted",
        "a copy of a machine is let in although its original is there",
        f"{ESX}/server.py",
        "            self._admit(present, tuple(each.present for each in there if each.present is not None))\n",
        "            pass\n",
        "I7",
        f"{_SERVER}::test_who_is_not_admitted_beside_another_is_told_so_and_not_there",
    ),
    _defect(
        "the-last-comer-makes-room",
        "one source that opens silent connections keeps those out that come after it",
        f"{ESX}/entrance.py",
        "        goes = next(iter(crowd), None)\n",
        "        goes = next(reversed(crowd), None)\n",
        "I8",
        "tests/unit/esx/test_entrance.py",
    ),
    _defect(
        "who-is-gone-stays",
        "a machine that lost its network counts as connected for ever, and its copy is refused for ever",
        f"{ESX}/connection.py",
        "        return None if self.alone_s is None or self.welcome is None else self.heard + self.alone_s\n",
        "        return None\n",
        "I8",
        f"{_TLS}::test_a_guest_from_which_nothing_is_heard_is_given_up",
    ),
    _defect(
        "no-share-of-the-thread",
        "one machine that floods takes all of the service's thread",
        f"{ESX}/shares.py",
        "                return now - self._accounts[other].came < PRESENT_S\n",
        "                return False\n",
        "I8",
        "tests/unit/esx/test_shares.py",
    ),
    _defect(
        "a-stranger-asks-for-ever",
        "whoever has no certificate can try tokens on one connection for as long as it likes",
        f"{ESX}/server.py",
        "connection.calls > _CALLS_BEFORE_HELLO:\n",
        "connection.calls > 10**9:\n",
        "I7",
        f"{_SERVER}::test_who_never_says_hello_is_not_answered_for_ever",
    ),
)
