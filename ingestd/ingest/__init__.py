"""The asyncio edge in: sockets and the pipeline from parsed input to the store."""
