"""The asyncio edge out: HTTP."""
