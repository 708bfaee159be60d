"""What is well and what is not, with what to do about it. Pure."""

from __future__ import annotations

from vmdkvol.task_messages import SiteStatus
from vmdkvol.watch_messages import ReadVitals
from vmdkvol_esx.web.pages.visit import Drawn, Page, Unknown, Visit


def show(visit: Visit) -> Drawn:
    """Show whether the service can work, each finding, and what somebody should look at."""
    return Drawn("health.html", {"vitals": visit.ask(ReadVitals()), "status": visit.try_ask(SiteStatus()), "unknown": Unknown})


PAGES = (Page("/ui/health", show, "Health"),)
