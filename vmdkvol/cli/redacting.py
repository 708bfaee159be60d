"""What must not leave the machine with a support bundle is taken out of a text. Pure.

Rather too much than too little: what looks like a secret is one. A key's name stays, so that one sees that it was set.
"""

from __future__ import annotations

import re

LEFT_OUT = "[left out]"
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----.*?(-----END [A-Z0-9 ]{0,40}KEY-----|\Z)", re.DOTALL)
# Tokens of ours: one that enrols (tokens.PREFIX), one for the API.
_TOKENS = re.compile(r"\bvmdkvol1\.[\w\-.]{8,}|\bvmdkvol_[\w\-]{16,}", re.ASCII)
_BEARER = re.compile(r"\b(Bearer|Basic) +[\w\-.~+/=]+", re.IGNORECASE | re.ASCII)
_IN_URL = re.compile(r"://[^/\s:@\"']{1,200}:[^/\s@\"']{1,200}@")
# `password = "..."` of TOML, `"token": "..."` of JSON, `secret=...` of a log line; not `token_file`, which is a path.
_NAMED = re.compile(
    r"""(?P<key>(?:password|passwd|passphrase|secret|token|authorization|cookie|private_key|api_key)(?:\\{0,8}["'])?\s{0,20}[:=]\s{0,20})"""
    r'''(?P<value>"""(?:(?!""").)*(?:"""|$)|'''
    r"""'{3}(?:(?!'{3}).)*(?:'{3}|$)|\\{1,8}"(?:(?!\\{1,8}")[^\n])*(?:\\{1,8}")?|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s,;}\]]+)""",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)


def redacted(text: str) -> str:
    """Return the text without private keys, tokens, passwords and what a URL says before an ``@``."""
    text = _PRIVATE_KEY.sub(LEFT_OUT, text)
    text = _TOKENS.sub(LEFT_OUT, text)
    text = _BEARER.sub(rf"\1 {LEFT_OUT}", text)
    text = _IN_URL.sub(f"://{LEFT_OUT}@", text)
    return _NAMED.sub(_without_value, text)


def _without_value(found: re.Match[str]) -> str:
    value = found["value"]
    if value in ("null", "None", '""', "''", "true", "false"):
        return found[0]
    mark = value[0] if value[0] in "\"'" else ""
    return f"{found['key']}{mark}{LEFT_OUT}{mark}"
