"""A load generator: series of a made-up fleet, sent to any Graphite or collectd listener."""
