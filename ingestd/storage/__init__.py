"""Ids and arrays to disk and back. Synchronous; no asyncio, no query."""
