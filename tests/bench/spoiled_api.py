"""The REST API with a defect: each page takes a tenth of a second longer. The proof that its row can fail."""

from __future__ import annotations

import sys
import time
from typing import Any

from vmdkvol.line import Line
from vmdkvol_esx.cli import main
from vmdkvol_esx.web import daemon

_LONGER_S = 0.1


class _SlowLine(Line):
    def ask(self, request: Any, call: Any) -> Any:
        time.sleep(_LONGER_S)
        return super().ask(request, call)


if __name__ == "__main__":
    # A defect, not a double: the product has no place to hand one in.
    vars(daemon)["Line"] = _SlowLine
    main(sys.argv[1:])
