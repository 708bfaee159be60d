"""Plans that broke something once, each shrunk to its story. They must stay sound, whatever the tables of steps become."""

from __future__ import annotations

from collections.abc import Mapping

FOUND: Mapping[str, str] = {
    # A device list that an answer left out was taken for an empty one, and a disk in use for a free one.
    "a-list-that-an-answer-leaves-out": (
        "eNplzk0OwiAQBeCrmFlPDD_a4lkIMZSODaaCAbTx9tLWRRsXZBbfe3loLfBmx0zIkB3XJ5tWqpYr0RjUGlwiWwhQV0UIcQIEztij"
        "qxfWslm7NQ652FR24Uobd_H5WXjBLYwxzCscOUJH2fd0sIP1AVD8rUwphuEauzu5eQx6entHGZDvQv7375Jetc1FFa6UPJ_aizHm"
        "C9D_Rj0="
    ),
}
