"""An answer that comes too late is nobody's: least of all that of the question after it."""

from __future__ import annotations

import time

import pytest
from redis.cluster import LoadBalancingStrategy, RedisCluster

from flask_authx import BadConfigurationError, RedisBlocklist
from flask_authx.stores.base import CONNECT_TIMEOUT
from flask_authx.stores.redis.urls import client_for
from tests.stores.contract import new_key
from tests.stores.test_failures import deaf
from tests.stores.test_failures_common import KINDS, note, private, site, timed
from tests.support.answers import FAULT, OK, REVOKED
from tests.support.servers.private import redis_cluster

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", [*KINDS, "psycopg2"])
def test_no_answer_is_taken_for_that_to_another_question(kind: str) -> None:
    with private("postgresql" if kind == "psycopg2" else kind) as server:
        url = server.url
        if kind == "psycopg2":
            url = url.replace("+psycopg:", "+psycopg2:")
        with site(url) as made:
            revoked, good = made.token("ann"), made.token("bob")
            made.revoke(revoked)
            for first, second in ((good, revoked), (revoked, good)):
                assert (made.outcome(revoked), made.outcome(good)) == (REVOKED, OK)
                server.pause()
                assert made.outcome(first) == FAULT
                server.resume()
                deadline = time.monotonic() + 60
                while (seen := made.outcome(second)) == FAULT:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                # The very first answer after the failure, and those that follow.
                assert seen == (REVOKED if second is revoked else OK)
                for _ in range(10):
                    assert made.outcome(revoked) == REVOKED
                    assert made.outcome(good) == OK


def test_sentinels_that_do_not_answer_take_no_longer_than_a_server() -> None:
    with deaf(full=True) as port:
        hosts = ",".join([f"127.0.0.1:{port}"] * 3)
        store = RedisBlocklist(client_for(f"redis+sentinel://{hosts}/master/0", 0.25))

        def failing() -> None:
            with pytest.raises(Exception, match="No master found"):
                store.find([new_key()])

        _, seconds = timed(failing)
        note("three Sentinels", seconds)
        assert seconds < 2 * CONNECT_TIMEOUT


@pytest.mark.xdist_group("cluster")
def test_a_client_of_a_cluster_that_reads_from_replicas_is_refused() -> None:
    with redis_cluster() as (url, _):
        host, _, port = url.removeprefix("redis+cluster://").partition(",")[0].partition(":")
        for strategy in (None, LoadBalancingStrategy.ROUND_ROBIN):
            client = RedisCluster(
                host=host, port=int(port), socket_timeout=5, load_balancing_strategy=strategy
            )
            try:
                if strategy is None:
                    assert RedisBlocklist(client).find([new_key()]) == []
                else:
                    with pytest.raises(BadConfigurationError, match="replicas"):
                        RedisBlocklist(client)
            finally:
                client.close()
