// ioredis against kv: node client.js PORT. Pipelines of its own making, transactions, channels.
const assert = require("node:assert");
const Redis = require("ioredis");

async function main() {
    const client = new Redis(Number(process.argv[2]), "127.0.0.1", { enableAutoPipelining: true });
    await client.flushall();
    const keys = Array.from({ length: 1000 }, (_, n) => `key${n}`);
    await Promise.all(keys.map((key, n) => client.set(key, n)));
    assert.deepEqual(await Promise.all(keys.map((key) => client.get(key))), keys.map((_, n) => String(n)));
    assert.deepEqual(await client.mget(keys), keys.map((_, n) => String(n)));
    assert.deepEqual(await client.multi().set("{t}a", 1).incr("{t}a").get("{t}a").exec(), [[null, "OK"], [null, 2], [null, "2"]]);
    assert.equal(await client.hset("hash", { f: 1, g: 2 }), 2);
    assert.deepEqual(await client.hgetall("hash"), { f: "1", g: "2" });
    assert.deepEqual(await client.zrange("nothing", 0, -1), []);
    await assert.rejects(client.lpush("hash", 1), /WRONGTYPE/);
    const found = new Set();
    for await (const some of client.scanStream({ count: 100 })) some.forEach((key) => found.add(key));
    assert.equal(found.size, 1002);
    const subscriber = new Redis(Number(process.argv[2]), "127.0.0.1");
    const heard = new Promise((done) => subscriber.on("message", (channel, message) => done([channel, message])));
    await subscriber.subscribe("news");
    assert.equal(await client.publish("news", "hello"), 1);
    assert.deepEqual(await heard, ["news", "hello"]);
    subscriber.disconnect();
    await client.quit();
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
