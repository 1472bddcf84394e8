"""`ingestd cluster move` and `repair`: what others had before, and what one replica lacks and another has."""

import asyncio
import os
import subprocess
import sys
import time

import aio_pika

from ingestd.cluster.map_file import read_map, write_map
from ingestd.cluster.placement import plan
from ingestd.operate.settings import load_cluster
from ingestd.wire import topology
from ingestd.wire.partition import partition_of

HOSTS = [f"web{n:02d}" for n in range(12)]
HOUR, DAY = 3600, 86400


class Cluster:
    """A cluster.toml over running stores."""

    def __init__(self, directory, url=""):
        self.file = directory / "cluster.toml"
        self.head = f'[amqp]\nexchange = "{directory.name[:50]}"\n' + (f'url = "{url}"\n' if url else "")

    def write(self, replication, **stores):
        text = f"replication = {replication}\n{self.head}"
        for name, store in stores.items():
            text += f'[[nodes]]\nname = "{name}"\nurl = "http://{store.addresses["http"]}"\n'
        self.file.write_text(text)
        return load_cluster(self.file)

    def run(self, *arguments, code=0):
        done = subprocess.run(
            [sys.executable, "-m", "ingestd.cli", "cluster", *arguments],
            env=os.environ | {"INGESTD_CLUSTER": str(self.file)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def map(self):
        return read_map(self.file.parent / "cluster.map.json")


def points(hosts, now, begin=0):
    """Lines of two days, sparser where they are older, from ``begin`` on: {(host, time): value}."""
    times = [*range(now - 2 * DAY, now - 8 * HOUR, 1200), *range(now - 2 * HOUR, now - 200, 10)]
    return {(host, t // 10 * 10): float(hash_of(host, t)) for host in hosts for t in times if t >= begin}


def hash_of(host, time_):
    return (int(host[3:]) * 7919 + time_ // 10 * 31) % 1000


def lines(some):
    return "".join(f"{host}.load {value:g} {t}\n" for (host, t), value in some.items()).encode()


def answers(store, hosts, now):
    """What a store says of hosts, at three resolutions."""
    found = {}
    for age in (2 * HOUR, 2 * DAY, 10 * DAY):
        rendered = store.render(*[f"{host}.load" for host in hosts], start=now - age, end=now, now=now)
        found |= {(name, age): [p for p in rows if p[0] is not None] for name, rows in rendered.items()}
    return found


async def publish(url, exchange, partition):
    """A message that nobody consumes."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        there = await channel.get_exchange(exchange)
        await there.publish(aio_pika.Message(b"late", delivery_mode=2), topology.routing_key(partition))


async def purge(url, queue):
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await (await channel.get_queue(queue)).purge()


def test_a_new_node_gets_the_history_of_what_it_owns(tmp_path, daemon, broker):
    now = int(time.time())
    old, new = daemon(directory="old"), daemon(directory="new")
    cluster = Cluster(tmp_path, broker.url)
    cluster.write(1, old=old)
    cluster.run("apply")
    cluster.write(1, old=old, new=new)
    cluster.run("apply")
    moving = cluster.map.moving
    moved = [host for host in HOSTS if partition_of(f"{host}.load", 1) in moving]
    assert 0 < len(moved) < len(HOSTS)
    old.send(lines(points(HOSTS, now)))
    # Both have got what came since the new bindings.
    new.send(lines(points(moved, now, now - HOUR + 50)))
    old.settled()
    new.settled()
    assert answers(new, moved, now) != answers(old, moved, now)
    asyncio.run(publish(broker.url, tmp_path.name[:50], min(moving)))
    output = cluster.run("move", "--wait", "0", code=1)
    assert "node new is 1 messages behind: what it is to own is not settled" in output
    assert cluster.map.moving == moving
    asyncio.run(purge(broker.url, f"{tmp_path.name[:50]}.new"))
    output = cluster.run("move")
    assert f"{len(moving)} partitions are settled" in output
    assert not cluster.map.moving
    expected = answers(old, moved, now)
    assert answers(new, moved, now) == expected
    assert len(expected) == 3 * len(moved)
    assert new.render(*[f"{host}.load" for host in HOSTS if host not in moved], start=now - DAY, end=now, now=now) == {}
    assert new.status()["ledger"]["received"] == len(points(moved, now, now - HOUR + 50))
    new.kill()
    new.start()
    assert answers(new, moved, now) == expected


def test_replicas_that_differ_are_repaired_from_each_other(tmp_path, daemon):
    now = int(time.time())
    stores = {name: daemon(directory=name) for name in "abc"}
    cluster = Cluster(tmp_path)
    settings = cluster.write(3, **stores)
    write_map(settings.map, plan(None, settings.wanted()))
    everything = points(HOSTS, now)
    for number, store in enumerate(stores.values()):
        # Each was away for a third of the last two hours, and each has hours that another lacks.
        lost = range(now - 2 * HOUR + number * 2000, now - 2 * HOUR + number * 2000 + 2000)
        hours = range(now - (46 - 10 * number) * HOUR, now - (36 - 10 * number) * HOUR)
        store.send(lines({k: v for k, v in everything.items() if k[1] not in lost and k[1] not in hours}))
        store.settled()
    before = [answers(store, HOSTS, now) for store in stores.values()]
    assert before[0] != before[1] != before[2]
    output = cluster.run("repair")
    assert "still differ" not in output
    whole = daemon(directory="whole")
    whole.send(lines(everything))
    whole.settled()
    expected = answers(whole, HOSTS, now)
    for store in stores.values():
        assert answers(store, HOSTS, now) == expected
    assert cluster.run("repair").count(" 0 points taken") == output.count("points taken")


def test_stores_of_other_retentions_are_refused(tmp_path, daemon):
    now = int(time.time())
    (tmp_path / "schemas.conf").write_text("[all]\npattern = .*\nretentions = 60s:1d\n")
    a, b = daemon(directory="a"), daemon("--schemas", str(tmp_path / "schemas.conf"), directory="b")
    cluster = Cluster(tmp_path)
    settings = cluster.write(2, a=a, b=b)
    write_map(settings.map, plan(None, settings.wanted()))
    a.send(lines(points(HOSTS[:3], now)))
    a.settled()
    assert "the schemas of the nodes differ" in cluster.run("repair", code=1)
