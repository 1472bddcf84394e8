"""What goes wrong in a chain, at random."""

import asyncio
import threading
import time
from collections import Counter

import aio_pika
from chain import restart_everything
from members import until

ALONE = ("store", "relay", "both", "term", "front")
OF_BROKERS = ("broker", "leader", "stall", "partition", "purge", "everything")


class Faults:
    """Makes faults, and lets the chain recover from each before the next of its kind, if not before all others."""

    def __init__(self, chain, rnd, kinds=(*ALONE, *OF_BROKERS), *, once=False):
        """``once``: each kind in its turn, however long a broker takes to come back."""
        self.chain = chain
        self.rnd = rnd
        self.counts = Counter()
        self.purged = set()
        self.purged_messages = 0
        self._kinds = kinds
        self._once = once
        self._bag = []
        self._healing = None
        self._error = None

    def one(self):
        """One fault, of a kind that is due."""
        if not self._bag:
            self._bag = list(self._kinds)
            self.rnd.shuffle(self._bag)
        # While a broker comes back, others fail.
        due = [kind for kind in self._bag if not (self._mending and kind in OF_BROKERS)] or list(
            self._bag if self._once else ALONE
        )
        kind = self.rnd.choice(due)
        if kind in self._bag:
            self._bag.remove(kind)
        getattr(self, kind)()
        self.counts[kind] += 1
        self.chain.healthy()
        return kind

    @property
    def _mending(self):
        return self._healing is not None and self._healing.is_alive()

    def healed(self):
        """Wait until the brokers are whole."""
        if self._healing is not None:
            self._healing.join()
            self._healing = None
        if self._error is not None:
            raise self._error

    def _heal(self, *steps):
        """Mend a broker after a while, beside what else happens."""

        def run():
            try:
                for step in steps:
                    step()
            except BaseException as error:
                self._error = error

        self._healing = threading.Thread(target=run)
        self._healing.start()

    def _pause(self, most):
        seconds = self.rnd.uniform(0, most)
        return lambda: time.sleep(seconds)

    # -- kinds ---------------------------------------------------------------------------------------------------------

    def store(self, name=None):
        """``kill -9`` of a store, which comes back at once or later."""
        name = name or self.rnd.choice(list(self.chain.stores))
        self.chain.note(name)
        self.chain.stores[name].kill()
        self.chain.ended(name)
        self._pause(2)()
        self.chain.stores[name].start().ready()

    def relay(self):
        """``kill -9`` of a relay in the midst of what it gets."""
        relay = self.rnd.choice(self.chain.relays)
        self._pause(0.3)()
        relay.kill()
        self.chain.bury(relay)
        relay.start().ready()

    def both(self):
        """A store and a relay at the same moment."""
        name, relay = self.rnd.choice(list(self.chain.stores)), self.rnd.choice(self.chain.relays)
        self.chain.note(name)
        relay.kill()
        self.chain.stores[name].kill()
        self.chain.bury(relay)
        self.chain.ended(name)
        self.chain.stores[name].start()
        relay.start().ready()
        self.chain.stores[name].ready()

    def term(self):
        """An orderly end of a store or a relay."""
        name, relay = self.rnd.choice(list(self.chain.stores)), self.rnd.choice(self.chain.relays)
        if self.rnd.random() < 0.5:
            self.chain.note(name)
            assert self.chain.stores[name].stop() == 0, self.chain.stores[name].log[-3000:]
            self.chain.ended(name)
            self.chain.stores[name].start().ready()
        else:
            self.term_relay(relay)

    def term_relay(self, relay=None):
        """An orderly end of a relay."""
        relay = relay or self.rnd.choice(self.chain.relays)
        assert relay.stop() == 0, relay.log[-3000:]
        self.chain.bury(relay)
        relay.start().ready()

    def front(self):
        """``kill -9`` of the query front, which keeps nothing."""
        self.chain.front.kill()
        self.chain.front.start().ready()

    def broker(self, one=None):
        """``kill -9`` of a broker."""
        self.healed()
        one = one or self.rnd.choice(self.chain.brokers.all)
        one.kill()
        self._heal(self._pause(3), one.start)

    def leader(self):
        """``kill -9`` of the broker that leads a store's queue."""
        self.healed()
        queue = self.rnd.choice(list(self.chain.queues().values()))
        self.broker(until(lambda: self.chain.brokers.leader(queue), f"{queue} to have a leader", 0.5))

    def stall(self):
        """A broker stands still."""
        self.healed()
        one = self.rnd.choice(self.chain.brokers.all)
        one.suspend()
        self._heal(self._pause(12), one.resume, lambda: until(one._answers, "the broker to go on", 0.2))

    def partition(self):
        """One broker is cut off from the others."""
        self.healed()
        if len(self.chain.brokers.all) < 3:
            return
        one = self.rnd.choice(self.chain.brokers.all)
        self.chain.brokers.isolate(one)
        self._heal(self._pause(8), lambda: self.chain.brokers.reunite(one))

    def purge(self):
        """All that waits for one store is thrown away: the other owners have it."""
        self.healed()
        # Nothing that waits for it may have been taken from another owner before.
        self.chain.settle()
        name = self.rnd.choice(list(self.chain.stores))
        self.chain.note(name)
        self.chain.stores[name].kill()
        self.chain.ended(name)
        self.chain.go_on()
        time.sleep(2)
        self.purged_messages += asyncio.run(self._purge(name))
        self.purged.add(name)
        self.chain.stores[name].start().ready()

    async def _purge(self, name):
        async with await aio_pika.connect(self.chain.brokers.urls[0]) as connection:
            channel = await connection.channel()
            queue = await channel.get_queue(self.chain.queues()[name], ensure=False)
            return (await queue.purge()).message_count

    def everything(self):
        """``kill -9`` of all processes."""
        self.healed()
        restart_everything(self.chain, self.rnd)
