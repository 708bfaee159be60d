"""The web page: what an administrator sees and changes with a browser. Served by the API's process beside the API, at ``/ui/``.

It is drawn here, by templates, from what the core answers to the same messages as the API's; it decides nothing. How a page is
added:

1. A module, as ``tasks``. A view is a function of a ``Visit`` and the parts of the path that asks (``visit.ask``), and returns
   what is to be seen: ``Drawn(template, values)``, or ``Away(path, said)`` to another page, which then says ``said``. It knows
   neither Flask nor the clock. Its rows stand at its end, ``PAGES`` (path, view, and a name if it is in the navigation) and
   ``CHANGES``; both are added to those of the others in ``tables``.
2. Its template in ``templates/`` extends ``layout.html`` and fills the blocks ``title`` and ``main`` (one ``h1``). All that is
   written with ``{{ }}`` is escaped, and unprintable characters in it are shown as such. A name that is not there is an error.
   Filters: ``size``, ``moment``, ``passed``. Macros: ``draw.html`` (bar, pager, facts) and ``forms.html``.
3. A change is a row of ``CHANGES`` (``changing.Change``), and a form made with ``forms.order``, which draws nothing for a role
   that may not give the order. It is planned first, by a dry run; the page with the plan, and what would be lost, carries out.
   A field is handed ``was``, what was in a form that was refused: the row's ``page`` draws it again (``again.Again``), and two
   forms of one verb on a page have a ``mark`` each. With ``revision`` in the form it is refused if somebody else was faster.
   Nothing is changed by a GET.
4. ``data-live`` on an element with an ``id``: while it is there, the element is fetched again every so many seconds.
   There is no inline style and no inline script: the content security policy forbids both.
"""
