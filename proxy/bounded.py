"""Reading an answer that must not be larger than it has any reason to be."""

from __future__ import annotations

import aiohttp


async def read_bounded(content: aiohttp.StreamReader, limit: int) -> bytes | None:
    """Return all that comes, or None as soon as it is more than ``limit`` bytes."""
    document = b""
    async for part in content.iter_any():
        document += part
        if len(document) > limit:
            return None
    return document
