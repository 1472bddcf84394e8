"""Bytes to batches. No sockets, no asyncio, no clock, no files."""
