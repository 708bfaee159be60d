"""Work under way, how far it is, and work that has ended lately. Pure."""

from __future__ import annotations

from uuid import UUID

from vmdkvol.errors import BadRequest, quoted
from vmdkvol.task_messages import CancelTask, GetTask, ListTasks
from vmdkvol_esx.web.pages.changing import Change
from vmdkvol_esx.web.pages.form import Form
from vmdkvol_esx.web.pages.visit import Drawn, Page, Visit


def show(visit: Visit) -> Drawn:
    """Show work under way, and what has ended within a day, unless only what is running is asked for."""
    running = visit.query.flag("running")
    return Drawn("tasks.html", {"tasks": visit.ask(ListTasks(ended=not running))["tasks"], "running": running})


def one(visit: Visit, task: str) -> Drawn:
    """Show one piece of work."""
    return Drawn("task.html", {"task": visit.ask(GetTask(task=_id(task)))})


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadRequest(f"{quoted(text, 40)} is no task's id", remedy="see the list of tasks") from None


def _cancelled(form: Form) -> UUID:
    return _id(form.text("task"))


PAGES = (Page("/ui/tasks", show, "Tasks"), Page("/ui/tasks/<task>", one))
CHANGES = (
    Change(
        "cancel-task",
        CancelTask,
        lambda form: CancelTask(task=_cancelled(form)),
        lambda form: f"Cancel the task {_cancelled(form)}",
        lambda form: "the task has ended, and nothing is left of it",
        lambda form: f"/ui/tasks/{_cancelled(form)}",
        lambda visit: one(visit, visit.form.text("task")),
    ),
)
