"""The documents say what the code does: made parts are compared, links resolve, commands and tests that are named exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import commands, lists, unknown_in
from tests.reference import BLOCK, OPENAPI, PARTS, filled, openapi_text, status_map
from vmdkvol.errors import BY_CODE
from vmdkvol.options import ALIASES, OPTIONS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
# What a person is told to type, by a message or by a file that is installed.
SAID = sorted(
    path
    for top in ("vmdkvol", "guest-agent", "esx-service", "packaging")
    for path in (ROOT / top).rglob("*")
    if path.suffix in (".py", ".html", ".toml", ".yml", ".service", ".conf") and "`vmdkvol" in path.read_text("utf-8")
)
LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(path: Path) -> str:
    """Return the page without its fenced blocks: what stands in those is no heading and no link."""
    return FENCED.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub gives the page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_list_of_the_command_line_says_which_keys_it_has() -> None:
    filtered = {name for name, command in commands() if any(each.name == "filters" for each in command.params)}
    assert filtered == {name for name, _ in lists()}


def test_every_key_that_a_list_is_filtered_or_sorted_by_on_a_page_is_one_of_its() -> None:
    known = {command: set(table.keys) for command, table in lists()}
    said = [
        (page, command, key)
        for page in PAGES
        for command, rest in re.findall(
            r"(vmdkvol [a-z]+(?: [a-z]+)*? (?:ls|volumes))\b([^`\n]*)", page.read_text(encoding="utf-8")
        )
        for key in re.findall(r"--(?:filter|sort) -?([a-z_]+)", rest)
    ]
    assert len(said) > 5
    assert [(name(page), command, key) for page, command, key in said if key not in known[command]] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_is_made_from_the_code_is_as_the_code_has_it(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    assert filled(text) == text, "run: python -m tests.reference"


def test_the_description_of_the_api_is_as_the_code_has_it() -> None:
    assert OPENAPI.read_text(encoding="utf-8") == openapi_text(), "run: python -m tests.reference"


def test_every_made_part_stands_in_one_page() -> None:
    used = [match[2] for page in PAGES for match in BLOCK.finditer(page.read_text(encoding="utf-8"))]

    assert sorted(used) == sorted(PARTS)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_resolves(page: Path) -> None:
    broken = []
    for link in LINK.findall(prose(page)):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.parent / target) if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(link)

    assert broken == []


def test_every_page_is_found_from_the_index() -> None:
    linked = {
        (index.parent / link).resolve()
        for index in (DOCS / "README.md", DOCS / "decisions" / "README.md")
        for link in LINK.findall(prose(index))
    }

    assert [name(page) for page in PAGES if page not in linked and page != DOCS / "README.md" and page.parent != ROOT] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_lines_are_short_enough_to_review(page: Path) -> None:
    made = BLOCK.sub("", page.read_text(encoding="utf-8"))
    long = [line for line in made.splitlines() if len(line) > 140 and not line.startswith(("|", " "))]

    assert long == []


def words(pattern: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for found in re.findall(pattern, page.read_text(encoding="utf-8")):
            yield name(page), found


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    assert {(page, target) for page, target in words(r"(?:`|\$ |^)make ([a-z][a-z-]*)") if target not in targets} == set()


def test_every_option_that_is_named_exists() -> None:
    known = {*OPTIONS, *ALIASES, "help", "KEY", "sizee"}

    assert {(page, key) for page, key in words(r"(?<![\w-])-o ([A-Za-z-]+)") if key not in known | {"json", "table"}} == set()


def test_every_code_that_is_linked_exists() -> None:
    assert {(page, code) for page, code in words(r"errors\.md#([a-z-]+)\)") if code not in BY_CODE} == set()


def test_every_code_that_is_raised_is_described() -> None:
    described = anchors(DOCS / "reference" / "errors.md")

    assert {code for code, kind in BY_CODE.items() if kind.explanation} <= described


def test_every_test_that_a_promise_names_exists() -> None:
    missing = []
    for page, test in words(r"`(tests/[\w/]+\.py(?:::\w+)?)`"):
        path, _, function = test.partition("::")
        source = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).is_file() else ""
        if not source or (function and f"def {function}(" not in source):
            missing.append((page, test))

    assert missing == []


def test_every_rule_of_the_corrections_has_its_row() -> None:
    page = (DOCS / "reference" / "corrections.md").read_text(encoding="utf-8")

    assert [int(number) for number in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)] == list(range(1, 44))


def test_every_fault_of_the_matrix_has_its_row() -> None:
    page = (DOCS / "reference" / "corrections.md").read_text(encoding="utf-8")
    faults: list[int] = []
    for row in re.findall(r"^\| (F\d\d[^|]*) \|", page, re.MULTILINE):
        numbers = [int(number) for number in re.findall(r"F(\d\d)", row)]
        faults += range(numbers[0], numbers[-1] + 1) if " to " in row else numbers

    assert sorted(faults) == list(range(1, 67))


def test_every_file_that_is_named_exists() -> None:
    pattern = r"`((?:vmdkvol|guest-agent|esx-service|packaging|docs)/[\w/.-]+\.\w+)`"

    assert {
        (page, path)
        for page, path in words(pattern)
        if not (ROOT / path).exists() and "X" not in path and path != "vmdkvol/datastore.id"
    } == set()


def test_every_key_of_status_is_described_and_no_other() -> None:
    page = (DOCS / "reference" / "status.md").read_text(encoding="utf-8")
    shown = json.loads(status_map().strip("`json\n"))

    assert sorted(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)) == sorted(shown)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        pytest.param("holders.db", "guest-agent/vmdkvol_guest/notebook.py", id="holders"),
        pytest.param("catalogue.db", "guest-agent/vmdkvol_guest/notebook.py", id="catalogue"),
        pytest.param("vmdkvol.db", "esx-service/vmdkvol_esx/settings.py", id="database"),
        pytest.param("sandbox.json", "vmdkvol/cli/layout.py", id="sandbox"),
        pytest.param(".creating", "esx-service/vmdkvol_esx/local/datastore.py", id="being-made"),
        pytest.param(".deleting", "esx-service/vmdkvol_esx/local/datastore.py", id="being-deleted"),
        pytest.param("datastore.id", "esx-service/vmdkvol_esx/local/marker.py", id="which-datastore"),
        pytest.param(".vmdkvol.json", "esx-service/vmdkvol_esx/local/datastore.py", id="sidecar"),
        pytest.param(".vmdkvol.label", "esx-service/vmdkvol_esx/vsphere/labels.py", id="label"),
        pytest.param("vmdkvol-file 1 ", "esx-service/vmdkvol_esx/vsphere/framed.py", id="first-line"),
    ],
)
def test_a_file_is_called_on_the_page_as_in_the_code(file: str, source: str) -> None:
    assert file in (DOCS / "reference" / "files-on-disk.md").read_text(encoding="utf-8")
    assert file in (ROOT / source).read_text(encoding="utf-8")


def typed(text: str) -> list[str]:
    """Return what a page has as code, in its lines and in its blocks: whatever of it is one of our commands may be typed."""
    blocks = [line for block in FENCED.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    return [*blocks, *re.findall(r"`([^`\n]+)`", FENCED.sub("", text))]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_on_a_page_exists_with_its_options(page: Path) -> None:
    wrong = [(line, unknown_in(line)) for line in typed(page.read_text(encoding="utf-8"))]

    assert [(line, word) for line, word in wrong if word] == []


@pytest.mark.parametrize("path", SAID, ids=name)
def test_every_command_that_the_product_tells_exists_with_its_options(path: Path) -> None:
    text = re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8"))
    said = [re.sub(r"{[^}]*}", "WORD", line) for line in re.findall(r"`(vmdkvol[a-z-]* [^`\n]+)`", text)]

    # What stands in braces is known when it is told.
    assert [(line, unknown_in(line)) for line in said if unknown_in(line) and "WORD" not in unknown_in(line)] == []


@pytest.mark.parametrize(
    "line", ["vmdkvol volume lst", "# vmdkvol-agent docter", "vmdkvol volume ls --no-such", "vmdkvol-esxd -x serve"]
)
def test_a_command_that_does_not_exist_is_found(line: str) -> None:
    assert unknown_in(line) in ("lst", "docter", "--no-such", "-x")


@pytest.mark.parametrize(
    "line", ["vmdkvol audit ls --sort -at", "vmdkvol vm enroll|ls|revoke", "vmdkvol volume ls | head", "docker ps -x"]
)
def test_a_command_that_exists_is_not(line: str) -> None:
    assert unknown_in(line) == ""
