"""What a reader sees of a text. Pure."""

from __future__ import annotations

import re

# Printable by Python's word and drawn as nothing, or as a blank: joiners, fillers and variation selectors (Unicode's default
# ignorables), and the empty Braille pattern. With one of them a name looks like another one.
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


def is_visible(text: str) -> bool:
    """Tell whether every character is one that a reader sees, and a terminal draws and does not obey; a blank is one."""
    return text.isprintable() and (text.isascii() or _UNSEEN.search(text) is None)


def escaped(text: str) -> str:
    """Return the text with an escape in the place of each character that is not seen."""
    if is_visible(text):
        return text
    return "".join(each if is_visible(each) else each.encode("unicode_escape").decode("ascii") for each in text)
