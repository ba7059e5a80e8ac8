// A session of ioredis over TLS. It asks INFO before it believes the server is ready.
//
// usage: ioredis.cjs PORT [IDENTITY], with NODE_PATH where the client is installed
const assert = require("node:assert/strict");
const { readFileSync } = require("node:fs");
const { Redis } = require("ioredis");

const [port, identity] = [Number(process.argv[2]), process.argv[3]];
const file = (name) => readFileSync(`certs/${name}.pem`);
const tls = { ca: file("ca"), ...(identity ? { cert: file(identity), key: file(`${identity}-key`) } : {}) };

(async () => {
  const redis = new Redis({ host: "127.0.0.1", port, tls, connectionName: "io", retryStrategy: null });
  assert.equal(await redis.ping(), "PONG");
  await redis.flushall();
  assert.equal(await redis.set("k", "v", "PX", 100000, "NX"), "OK");
  assert.equal(await redis.set("k", "w", "NX"), null);
  assert.ok((await redis.pttl("k")) > 0);
  const raw = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  await redis.set(raw, raw);
  assert.deepEqual(await redis.getBuffer(raw), raw);
  await redis.mset({ a: 1, b: 2 });
  assert.deepEqual(await redis.mget("a", "nothing", "b"), ["1", null, "2"]);
  assert.deepEqual(await redis.pipeline().incr("n").incr("text").get("a").exec(), [
    [null, 1],
    [null, 1],
    [null, "1"],
  ]);
  assert.deepEqual(await redis.multi().set("m", "1").incr("m").exec(), [
    [null, "OK"],
    [null, 2],
  ]);
  const stream = redis.scanStream({ match: "*", count: 2 });
  const keys = new Set();
  for await (const page of stream) for (const key of page) keys.add(key);
  assert.equal(keys.size, await redis.dbsize());
  assert.equal((await redis.keys("*")).length, keys.size);
  await assert.rejects(redis.lpush("l", 1), /unknown command/);
  await assert.rejects(redis.subscribe("channel"), /unknown command/);
  assert.equal(await redis.client("GETNAME"), "io");
  assert.match(await redis.client("INFO"), /name=io/);
  assert.deepEqual(await redis.config("GET", "save"), ["save", ""]);
  assert.equal(await redis.object("ENCODING", "a"), "int");
  assert.equal(await redis.quit(), "OK");
  console.log("ioredis done");
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
