"""ingestd: a metric ingest daemon: collectd and Graphite in, a whisper-like store, Graphite's render API out."""

__version__ = "0.1.0"
