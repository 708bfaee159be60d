"""Defects of the web page: of who comes in, whose form it is, what is carried out of a plan, and what foreign text becomes."""

from __future__ import annotations

from tests.mutants.mutant import ESX, By, Mutant

_WEB = f"{ESX}/web"
_LOGIN, _CHANGES = "tests/unit/esx/web/test_page_login.py", "tests/unit/esx/web/test_page_changes.py"
_AGAIN = "tests/unit/esx/web/test_page_again.py"


def _defect(id: str, defect: str, file: str, old: str, new: str, test: str) -> Mutant:
    return Mutant(id, defect, f"{_WEB}/{file}", old, new, ("I7",), (test,), By.TESTS)


MUTANTS = (
    _defect(
        "any-form-will-do",
        "a page of another site gives orders with the session, or the certificate, of whoever looks at it",
        "pages/entering.py",
        '    if not same(form.maybe("csrf") or "", entered.csrf):\n',
        '    if not (form.maybe("csrf") or ""):\n',
        f"{_CHANGES}::test_a_form_without_the_session_s_own_token_does_nothing",
    ),
    _defect(
        "what-the-browser-says-is-not-heard",
        "a page of another site that has got hold of a form's token gives orders",
        "origins.py",
        "    if site is not None and site not in _OWN:\n",
        "    if site is not None and not site:\n",
        f"{_CHANGES}::test_a_page_of_another_site_changes_nothing_even_with_the_right_token",
    ),
    _defect(
        "a-revoked-token-stays-logged-in",
        "somebody whose token was taken away goes on with the session that it began",
        "pages/entering.py",
        "        known = None if begun is None else self.login.tokens.still(begun)\n",
        "        known = begun\n",
        f"{_LOGIN}::test_a_revoked_token_ends_its_sessions_with_the_next_request",
    ),
    _defect(
        "a-log-out-forgets-the-cookie-alone",
        "whoever has copied the cookie goes on after the log out",
        "pages/sessions.py",
        "            self._open.pop(_hashed(given), None)\n",
        "            self._open.get(_hashed(given))\n",
        f"{_LOGIN}::test_a_log_out_ends_the_session_itself_and_not_the_cookie_alone",
    ),
    _defect(
        "what-goes-back-is-markup",
        "a name or a label that somebody chose becomes a part of an administrator's page",
        "pages/words.py",
        "    return escape(str(value))\n",
        "    return Markup(str(value))\n",
        "tests/unit/esx/web/test_pages.py::test_foreign_text_is_text_wherever_it_stands",
    ),
    _defect(
        "clicked-twice-done-twice",
        "an order is given again when somebody clicks twice, or loads the page again",
        "pages/changing.py",
        '        call = call_id(Said(key=f"page {form.text(KEY)}"), visit.by, visit.call.id)\n',
        "        call = call_id(Said(), visit.by, visit.call.id)\n",
        f"{_CHANGES}::test_who_clicks_twice_gives_one_order_and_a_new_plan_is_another",
    ),
    _defect(
        "a-second-try-has-seen-the-newest",
        "a form that comes back with a wrong field overwrites what somebody else changed meanwhile, unseen",
        "pages/templates/forms.html",
        '{% if was and was.text("revision") %}',
        '{% if was and not was.at and was.text("revision") %}',
        f"{_AGAIN}::test_what_somebody_else_changed_meanwhile_is_not_overwritten_by_the_second_try",
    ),
    _defect(
        "an-invitation-stays-with-the-page",
        "a machine that is invited from the page gets no token, and nobody is told of one",
        "pages/machines.py",
        '        lambda form: EnrollVm(vm=form.text("vm"), give=True),\n',
        '        lambda form: EnrollVm(vm=form.text("vm")),\n',
        "tests/unit/esx/web/test_page_adopting.py::test_an_invited_machine_gets_its_token_itself_and_the_page_never_shows_it",
    ),
    _defect(
        "a-proof-proves-itself",
        "a proof that was wrong, and the one after it, is filled in by the page",
        "pages/again.py",
        "        found = () if name in _TYPED_ANEW else self.form.fields.get(name, ())\n",
        "        found = self.form.fields.get(name, ())\n",
        f"{_AGAIN}::test_a_proof_is_typed_anew",
    ),
)
