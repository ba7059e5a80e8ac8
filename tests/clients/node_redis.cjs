// A session of node-redis over TLS.
//
// usage: node_redis.cjs PORT PROTOCOL [IDENTITY], with NODE_PATH where the client is installed
const assert = require("node:assert/strict");
const { readFileSync } = require("node:fs");
const { createClient, WatchError, RESP_TYPES } = require("redis");

const [port, RESP, identity] = [Number(process.argv[2]), Number(process.argv[3]), process.argv[4]];
const file = (name) => readFileSync(`certs/${name}.pem`);
const mine = identity ? { cert: file(identity), key: file(`${identity}-key`) } : {};
const socket = { host: "127.0.0.1", port, tls: true, ca: file("ca"), reconnectStrategy: false, ...mine };
const connect = async (options = {}) => {
  const client = createClient({ socket, RESP, ...options });
  client.on("error", () => {});
  return client.connect();
};

(async () => {
  const client = await connect({ name: "node" });
  assert.equal(await client.ping(), "PONG");
  await client.flushAll();

  assert.equal(await client.set("k", "v", { expiration: { type: "EX", value: 100 }, condition: "NX" }), "OK");
  assert.equal(await client.set("k", "w", { condition: "NX" }), null);
  assert.equal(await client.set("k", "w", { GET: true, expiration: "KEEPTTL" }), "v");
  assert.ok((await client.ttl("k")) > 0);
  assert.equal(await client.getDel("k"), "w");
  assert.equal(await client.get("k"), null);
  const bytes = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  const raw = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  await client.set(raw, raw);
  assert.deepEqual(await bytes.get(raw), raw);
  await client.mSet({ a: "1", b: "2" });
  assert.deepEqual(await client.mGet(["a", "nothing", "b"]), ["1", null, "2"]);
  assert.equal(await client.incrBy("n", 41), 41);
  assert.equal(await client.incrByFloat("f", 0.5), "0.5");
  assert.equal(await client.expire("a", 100, "NX"), 1);
  assert.equal(await client.pTTL("nothing"), -2);
  assert.equal(await client.copy("a", "c"), 1);
  assert.equal(await client.del(["a", "b", "c"]), 3);
  await client.mSet({ one: "ohmytext", two: "mynewtext" });
  const found = await client.lcsIdxWithMatchLen("one", "two");
  assert.equal(found.len, 6);
  assert.equal(found.matches.length, 2);

  // What is sent in one tick is pipelined.
  const counts = await Promise.all(Array.from({ length: 2000 }, () => client.incr("p")));
  assert.deepEqual(counts, Array.from({ length: 2000 }, (_, index) => index + 1));
  assert.deepEqual(await client.multi().set("m", "1").incr("m").get("m").exec(), ["OK", 2, "2"]);
  const other = await connect();
  await client.watch("m");
  await other.set("m", "changed");
  await assert.rejects(client.multi().set("m", "mine").exec(), WatchError);

  await client.flushAll();
  await Promise.all(Array.from({ length: 1000 }, (_, index) => client.set(`key:${index}`, "x")));
  const keys = new Set();
  for await (const page of client.scanIterator({ MATCH: "key:*", COUNT: 50 })) for (const key of page) keys.add(key);
  assert.equal(keys.size, 1000);
  assert.equal((await client.keys("key:1*")).length, 111);

  await assert.rejects(client.hSet("h", "f", "1"), /unknown command/);
  await client.set("text", "abc");
  await assert.rejects(client.incr("text"), /value is not an integer or out of range/);
  assert.match(await client.info("server"), /redis_version:/);
  assert.deepEqual({ ...(await client.configGet("appendonly")) }, { appendonly: "no" });
  assert.equal(await client.clientGetName(), "node");
  const list = await client.clientList();
  const own = list.find(({ name }) => name === "node");
  assert.equal(own.libName, "node-redis");
  assert.equal(own.resp, RESP);
  assert.ok((await client.command()).some(({ name }) => name === "getex"));
  assert.ok((await client.commandCount()) > 60);
  assert.equal(await client.clientKill({ filter: "ID", id: await other.clientId() }), 1);
  await assert.rejects(other.get("x"));
  await client.close();
  console.log("node-redis done");
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
