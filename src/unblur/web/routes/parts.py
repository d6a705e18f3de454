"""Parts of addresses."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path as InPath

from unblur.web.disk import ID

Number = Annotated[str, InPath(pattern=ID)]
