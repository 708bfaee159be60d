"""Everything that can be asked on the admin socket: the nouns' lists in one. Values only."""

from __future__ import annotations

from vmdkvol.admin_messages import VM_REQUESTS
from vmdkvol.adoption_messages import ADOPTION_REQUESTS
from vmdkvol.advice_messages import ADVICE_REQUESTS
from vmdkvol.audit_messages import AUDIT_REQUESTS, NoteLogin
from vmdkvol.messages import Hello, Request
from vmdkvol.orphan_messages import ORPHAN_REQUESTS
from vmdkvol.policy_messages import POLICY_REQUESTS
from vmdkvol.resize_messages import RESIZE_REQUESTS
from vmdkvol.site_messages import SITE_REQUESTS
from vmdkvol.task_messages import TASK_REQUESTS
from vmdkvol.vmgroup_messages import VMGROUP_REQUESTS
from vmdkvol.volume_orders import VOLUME_REQUESTS
from vmdkvol.watch_messages import WATCH_REQUESTS

# By noun; each list stands at the end of the noun's own file.
NOUNS: tuple[type[Request[object]], ...] = (
    *VM_REQUESTS,
    *AUDIT_REQUESTS,
    *VOLUME_REQUESTS,
    *RESIZE_REQUESTS,
    *VMGROUP_REQUESTS,
    *SITE_REQUESTS,
    *POLICY_REQUESTS,
    *TASK_REQUESTS,
    *ORPHAN_REQUESTS,
    *ADOPTION_REQUESTS,
    *WATCH_REQUESTS,
    *ADVICE_REQUESTS,
)
# What the API's own process tells: nobody has it in the API.
OWN: tuple[type[Request[object]], ...] = (NoteLogin,)
ADMIN_REQUESTS: tuple[type[Request[object]], ...] = (Hello, *NOUNS, *OWN)
