"""redis-py against kv: client.py PORT. Values of each kind, pipelines, transactions, channels, in both versions of RESP."""

import sys
import threading

import redis

port = int(sys.argv[1])
# Before 5.0 it speaks version 2 alone, and does not know the word.
versions = [{"protocol": 2}, {"protocol": 3}] if int(redis.__version__.split(".")[0]) >= 5 else [{}]
for version in versions:
    client = redis.Redis("127.0.0.1", port, decode_responses=True, socket_timeout=30, **version)
    client.flushall()
    assert client.ping()
    assert client.set("a", 1) and client.get("a") == "1" and client.incr("a", 41) == 42
    assert client.mset({f"k{n}": n for n in range(100)})
    assert client.mget([f"k{n}" for n in range(100)]) == [str(n) for n in range(100)]
    assert client.hset("hash", mapping={"f": "1", "g": "2"}) == 2 and client.hgetall("hash") == {"f": "1", "g": "2"}
    assert client.rpush("list", *range(10)) == 10 and client.lrange("list", -2, -1) == ["8", "9"]
    assert client.sadd("set", "x", "y") == 2 and client.smembers("set") == {"x", "y"}
    assert client.zadd("sorted", {"one": 1, "two": 2.5}) == 2 and client.zscore("sorted", "two") == 2.5
    assert {*client.scan_iter(count=7)} == {"a", "hash", "list", "set", "sorted", *(f"k{n}" for n in range(100))}
    assert client.dbsize() == 105 and client.info()["redis_version"]
    assert client.config_get("maxmemory*")["maxmemory"] == "0" and client.client_id() > 0
    with client.pipeline(transaction=False) as pipeline:
        for n in range(10_000):
            pipeline.incr(f"n{n % 10}")
        assert pipeline.execute()[-1] == 1000
    with client.pipeline() as pipeline:  # MULTI, EXEC
        pipeline.watch("{t}w")
        pipeline.multi()
        pipeline.set("{t}w", "1").incr("{t}w").get("{t}w")
        assert pipeline.execute() == [True, 2, "2"]
    with client.pipeline() as pipeline:
        pipeline.watch("w")
        client.set("w", "changed")
        pipeline.multi()
        pipeline.set("w", "mine")
        try:
            pipeline.execute()
            raise SystemExit("the change was not seen")
        except redis.WatchError:
            pass
    heard = []
    subscriber = client.pubsub()
    subscriber.subscribe("news")
    subscriber.psubscribe("n*")
    assert subscriber.get_message(timeout=10)["type"] == "subscribe"
    assert subscriber.get_message(timeout=10)["type"] == "psubscribe"
    assert client.publish("news", "hello") == 2
    heard = [subscriber.get_message(timeout=10) for _ in range(2)]
    assert sorted(it["type"] for it in heard) == ["message", "pmessage"], heard
    subscriber.close()
    try:
        client.lpush("a", 1)
        raise SystemExit("a list where a string is")
    except redis.ResponseError as error:
        assert str(error).startswith("WRONGTYPE"), error

    def count() -> None:
        own = redis.Redis("127.0.0.1", port, **version)
        for _ in range(500):
            own.incr("shared")

    threads = [threading.Thread(target=count) for _ in range(8)]
    [it.start() for it in threads]
    [it.join() for it in threads]
    assert client.get("shared") == "4000"
