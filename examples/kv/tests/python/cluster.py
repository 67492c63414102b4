"""redis-py's cluster client against three kv processes: cluster.py PORT, of any of them."""

import sys

from redis.cluster import RedisCluster

client = RedisCluster(host="127.0.0.1", port=int(sys.argv[1]), decode_responses=True)
for n in range(1000):
    assert client.set(f"key{n}", n)
assert all(client.get(f"key{n}") == str(n) for n in range(1000))
assert client.mget_nonatomic([f"key{n}" for n in range(100)]) == [str(n) for n in range(100)]
assert client.sadd("{tag}a", 1, 2) == 2 and client.sadd("{tag}b", 2, 3) == 2
assert client.sinter("{tag}a", "{tag}b") == {"2"}
assert client.zadd("{tag}z", {"m": 1}) == 1 and client.zunionstore("{tag}y", ["{tag}z", "{tag}z"]) == 1
pipeline = client.pipeline()
for n in range(1000):
    pipeline.incr(f"n{n}")
assert pipeline.execute() == [1] * 1000
assert len(client.get_nodes()) == 3
