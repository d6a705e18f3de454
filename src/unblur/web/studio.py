"""The helper's process: `python -m unblur.web.studio`.

It reads requests, a line of JSON each, from standard input; the answer is a line of JSON that says
how many bytes follow it. It ends when its input closes.
"""

from __future__ import annotations

import json
import os
import sys
import warnings

from unblur.web.work import explain


def main() -> int:
    """Answers until no one asks."""
    voice = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    warnings.simplefilter("ignore")
    from unblur.web.looking import Looker

    looker = Looker()
    for line in sys.stdin:
        request = json.loads(line)
        facts: dict[str, object]
        try:
            facts, data = looker.answer(request)
        except Exception as error:
            code, message = explain(error)
            message = message.replace(request["path"], request["name"])
            facts, data = {"error": {"code": code, "message": message}}, b""
        voice.write(json.dumps({**facts, "bytes": len(data)}).encode() + b"\n" + data)
        voice.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
