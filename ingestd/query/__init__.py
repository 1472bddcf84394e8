"""Text to arrays: targets are parsed, planned and computed over 2-D grids.

What the other floors use: :class:`~ingestd.query.grid.Reader` (to be implemented), :class:`~ingestd.query.grid.Series`,
:class:`~ingestd.query.evaluate.Request`, :func:`~ingestd.query.evaluate.run`,
:func:`~ingestd.query.consolidate.consolidate`, :func:`~ingestd.query.attime.parse_time`,
:class:`~ingestd.query.limits.QueryLimits`, :class:`~ingestd.query.limits.QueryError` and
:class:`~ingestd.query.limits.LimitError`.
"""
