"""Defects of who is who: of the service's decisions, its records, its authority, and of the agent's enrolment."""

from __future__ import annotations

from tests.mutants.mutant import AGENT, ESX, By, Mutant

_UNIT = "tests/unit/esx"
_CERTIFICATES = f"{_UNIT}/test_callers_certificates.py"
_ENROLLING = f"{_UNIT}/test_enrolling.py"
_GUEST = "tests/unit/guest/test_enrolling.py"


def _defect(id: str, defect: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(id, defect, file, old, new, ("I7",), tests, By.TESTS)


MUTANTS = (
    _defect(
        "a-revoked-certificate-counts",
        "a host that was revoked goes on as if nothing had been",
        f"{ESX}/callers.py",
        "        if found.revoked_at is not None:\n",
        "        if found.revoked_at is None and not found.fingerprint:\n",
        _CERTIFICATES,
        _ENROLLING,
    ),
    _defect(
        "a-certificate-of-any-context",
        "over vsock a copy of a machine is served with the key of its original",
        f"{ESX}/callers.py",
        "        if there == identity.vm:\n",
        "        if there is not None:\n",
        _CERTIFICATES,
    ),
    _defect(
        "a-context-id-that-nobody-has-is-believed",
        "a context id of which the hypervisor knows no machine is taken for the certificate's",
        f"{ESX}/callers.py",
        "        if there == identity.vm:\n",
        "        if there in (identity.vm, None):\n",
        _CERTIFICATES,
    ),
    _defect(
        "two-boots-of-one-machine",
        "a machine and its copy are served beside each other",
        f"{ESX}/callers.py",
        "if (each.boot_id, each.proof.place) != key[1:]]",
        "if each.proof.place != key[2]]",
        _CERTIFICATES,
    ),
    _defect(
        "a-copy-with-its-memory",
        "a copy that was made with the machine's memory is served beside it",
        f"{ESX}/callers.py",
        "if (each.boot_id, each.proof.place) != key[1:]]",
        "if each.boot_id != key[1]]",
        _CERTIFICATES,
    ),
    _defect(
        "all-wait-at-the-door",
        "while the hypervisor is slow to say who one machine is, no other one comes in",
        f"{ESX}/server.py",
        "            if door == _AT_THE_DOOR and whose is not None:\n",
        "            if door == _AT_THE_DOOR and whose is None:\n",
        f"{_UNIT}/test_server_doors.py",
    ),
    _defect(
        "a-certificate-of-the-future",
        "the service shows for a year a certificate that it made while its clock was ahead",
        f"{ESX}/authority.py",
        "if _counts(own, self._clock) and key",
        "if key",
        f"{_UNIT}/test_authority.py",
    ),
    _defect(
        "revoked-while-it-is-let-in",
        "a host that is revoked just when it connects stays connected",
        f"{ESX}/callers.py",
        "        self._ended[vm] = self._ends\n",
        "        self._ended[vm] = 0\n",
        _CERTIFICATES,
    ),
    _defect(
        "a-token-for-everybody",
        "a token that was used gives a certificate to whoever comes with it again",
        f"{ESX}/store/identities.py",
        "    if found is None or found.used_at is not None:\n",
        "    if found is None:\n",
        f"{_UNIT}/test_store_identities.py",
    ),
    _defect(
        "a-token-for-ever",
        "a token counts after its hour",
        f"{ESX}/enrolling.py",
        "        if self._clock.wall() >= ticket.expires_at:\n",
        "        if self._clock.wall() >= ticket.expires_at + 86400.0:\n",
        _ENROLLING,
    ),
    _defect(
        "a-second-use-is-silent",
        "that somebody else has read a token is said nowhere",
        f"{ESX}/enrolling.py",
        '            self._alarms.sound(\n                ticket.hash, "a token was used twice',
        '            (lambda *_, **__: None)(\n                ticket.hash, "a token was used twice',
        _ENROLLING,
    ),
    _defect(
        "a-lost-answer-is-an-alarm",
        "a host whose enrolment was answered into a broken connection needs another token",
        f"{ESX}/enrolling.py",
        "        if ticket.used_at is not None and ticket.used_for != asked:\n",
        "        if ticket.used_at is not None:\n",
        _ENROLLING,
    ),
    _defect(
        "the-older-certificate-stays",
        "after a host was enrolled again, the key that it lost still speaks for it",
        f"{ESX}/store/identities.py",
        "    _end(transaction, new.vm, new.issued_at)\n",
        "",
        f"{_UNIT}/test_store_identities.py",
    ),
    _defect(
        "a-third-certificate",
        "each renewal leaves one certificate more that counts",
        f"{ESX}/store/identities.py",
        "    transaction.change(_FORGET_OTHERS, whose=str(new.vm), one=new.fingerprint, two=keep)\n",
        "",
        f"{_UNIT}/test_store_identities.py",
    ),
    _defect(
        "an-authority-made-anew",
        "a lost key is replaced at the start, and every host of the site is cut off",
        f"{ESX}/authority.py",
        "        if not enrolled and not (key_file",
        "        if not (key_file",
        f"{_UNIT}/test_authority.py",
    ),
    _defect(
        "a-request-of-another-key-is-signed",
        "a certificate is given for a key that whoever asks has not",
        f"{ESX}/authority.py",
        "    if not valid or not strong:\n",
        "    if not strong:\n",
        f"{_UNIT}/test_authority.py",
    ),
    _defect(
        "an-agent-can-be-the-service",
        "a host's certificate is taken for the service's by the other hosts",
        f"{ESX}/authority.py",
        "names, ExtendedKeyUsageOID.CLIENT_AUTH)",
        "names, ExtendedKeyUsageOID.SERVER_AUTH)",
        f"{_UNIT}/test_authority.py",
    ),
    _defect(
        "a-rebuild-takes-over-half",
        "a rebuild from a damaged database lets a revoked host in",
        f"{ESX}/store/schema.py",
        '    if row_checksum(row, names) != row["checksum"]:\n'
        '        raise MetadataDamaged(f"{name} does not match its checksum", vm=row["vm"])\n'
        "    try:\n        return load(kind",
        "    try:\n        return load(kind",
        f"{_UNIT}/test_store_identities.py",
    ),
    _defect(
        "the-secret-is-said-to-anybody",
        "an agent hands its token to whatever answers at the service's address",
        f"{AGENT}/enrolling.py",
        "    if pin_of(authority) != token.pin:\n",
        "    if not authority:\n",
        _GUEST,
    ),
    _defect(
        "what-comes-with-the-authority-is-trusted",
        "an agent trusts every certificate that comes behind the one that its token names",
        "vmdkvol/tokens.py",
        "    found = _CERTIFICATE.fullmatch(pem)\n",
        "    found = _CERTIFICATE.match(pem)\n",
        _GUEST,
    ),
    _defect(
        "a-certificate-that-ends-first",
        "an agent renews its certificate when it is over",
        f"{AGENT}/ports.py",
        "        return self.not_after - (self.not_after - self.not_before) / 3\n",
        "        return self.not_after\n",
        _GUEST,
    ),
)
