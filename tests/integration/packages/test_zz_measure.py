import time
from collections import Counter
from contextlib import suppress
from tests.integration.packages.house import House, lock_of, wait_until
from tests.registry_server import Answer
from backend.queue.breaker import *

def test_m(house: House) -> None:
    N=1500
    house.submit(lock_of({f"p{n}": house.entry(f"p{n}", tarball=b"%d"%n) for n in range(N)}))
    house.breakers = Breakers(Rules(shortest=timedelta(seconds=600),longest=timedelta(seconds=600)))
    house.changes["WORKER_MAX_PACKAGES_PER_CYCLE"]=50
    b=house.breakers.of(f"127.0.0.1:{house.registry.port}")
    for _ in range(5):
        with suppress(Exception):
            with b.guard(OSError): raise OSError
    began=time.monotonic(); cpu=time.process_time()
    with house.daemon():
        wait_until(lambda: house.database.one("SELECT count(*) FROM attempts WHERE outcome='snoozed'")>=N, seconds=100, what="all")
        took=time.monotonic()-began; cpu=time.process_time()-cpu
    print("MEASURED", N, "rows", round(took,2), "s", round(N/took), "rows/s; cpu ms/row", round(cpu*1000/N,2), len(house.registry.requests))
