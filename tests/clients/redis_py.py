"""A session of redis-py over TLS: strings, keys, pipelines, transactions, scans, and what the library asks for itself.

usage: redis_py.py PORT PROTOCOL [IDENTITY]
"""
import ssl
import sys
import threading
import time

import redis

port, protocol, identity = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
major = int(redis.__version__.split(".")[0])
options = dict(host="127.0.0.1", port=port, ssl=True, ssl_ca_certs="certs/ca.pem", ssl_check_hostname=True)
if identity:
    options |= dict(ssl_certfile=f"certs/{identity[0]}.pem", ssl_keyfile=f"certs/{identity[0]}-key.pem")
if major >= 5:
    options["protocol"] = protocol
else:
    assert protocol == 2, "this redis-py speaks the old protocol only"


def refused(expected, action):
    try:
        action()
    except redis.RedisError as error:
        assert expected in str(error), error
    else:
        raise AssertionError(f"not refused: {expected}")


client = redis.Redis(**options, client_name="tester")
assert client.ping() is True
client.flushall()

# Strings, binary-safe, with every option.
raw = bytes(range(256)) + b"\r\n$-1\r\n"
assert client.set(raw, raw) is True and client.get(raw) == raw
assert client.set("k", "v", ex=100, nx=True) is True and client.set("k", "w", nx=True) is None
assert client.set("k", "w", get=True, keepttl=True) == b"v" and 0 < client.ttl("k") <= 100
assert client.getex("k", persist=True) == b"w" and client.ttl("k") == -1 and client.ttl("absent") == -2
assert client.getdel("k") == b"w" and client.get("k") is None
assert client.mset({"a": 1, "b": 2}) is True and client.mget("a", "nothing", "b") == [b"1", None, b"2"]
assert client.msetnx({"a": 1, "c": 2}) in (False, 0) and client.exists("a", "b", "c") == 2
assert client.incr("n", 5) == 5 and client.decr("n") == 4 and client.incrbyfloat("f", 0.1) == 0.1
assert client.append("s", "Hello World") == 11 and client.getrange("s", 0, 4) == b"Hello"
assert client.setrange("s", 6, "Redis") == 11 and client.strlen("s") == 11
assert client.setex("e", 10, "x") is True and client.psetex("p", 50, "x") is True
time.sleep(0.1)
assert client.get("p") is None
client.mset({"one": "ohmytext", "two": "mynewtext"})
if major >= 5:
    assert client.lcs("one", "two") == b"mytext" and client.lcs("one", "two", len=True) == 6

# Keys and when they go.
assert client.expire("a", 100) in (True, 1) and client.expire("a", 50, gt=True) in (False, 0)
assert client.expiretime("a") > time.time() and client.persist("a") in (True, 1)
assert client.rename("a", "z") is True and client.copy("z", "y") in (True, 1) and client.type("y") == b"string"
assert client.object("encoding", "y") == b"int" and client.memory_usage("y") > 0
client.flushall()
client.mset({f"key:{number}": number for number in range(2000)})
assert client.dbsize() == 2000 and len(client.keys("key:1*")) == 1111
assert len(set(client.scan_iter(match="key:*", count=100))) == 2000 and client.randomkey().startswith(b"key:")
assert client.delete("key:1", "key:2") == 2 and client.unlink("key:3", "absent") == 1

# Pipelines and transactions.
with client.pipeline(transaction=False) as pipe:
    for number in range(5000):
        pipe.set("x", number).get("x")
    replies = pipe.execute()
assert replies[1::2] == [str(number).encode() for number in range(5000)]
with client.pipeline() as pipe:
    assert pipe.incr("t").incr("t").get("t").execute() == [1, 2, b"2"]
with client.pipeline() as pipe:
    pipe.watch("t")
    client.set("t", "other")
    pipe.multi()
    pipe.set("t", "mine")
    try:
        pipe.execute()
        raise AssertionError("a watched key has changed")
    except redis.WatchError:
        assert client.get("t") == b"other"
assert client.transaction(lambda pipe: pipe.multi() or pipe.incr("counter"), "counter") == [1]
with client.pipeline() as pipe:
    pipe.set("t", "text").incr("t").get("t")
    replies = pipe.execute(raise_on_error=False)
    assert isinstance(replies[1], redis.ResponseError) and replies[2] == b"text", replies

# Errors in Redis's words.
client.set("text", "abc")
refused("value is not an integer or out of range", lambda: client.incr("text"))
refused("unknown command", lambda: client.hset("h", "f", 1))
refused("unknown command", lambda: client.execute_command("LPUSH", "l", 1))
refused("no such key", lambda: client.rename("absent", "b"))
refused("DB index is out of range", lambda: redis.Redis(**options, db=1).ping())

# The server and the connections.
assert client.info()["redis_version"] and client.info("server")["server_name"] == "latchkey"
assert client.info("keyspace")["db0"]["keys"] == client.dbsize()
assert client.config_get("maxmemory*")["maxmemory-policy"] == "noeviction"
assert client.client_getname() in ("tester", b"tester") and client.client_id() > 0
lines = client.client_list()
own = next(line for line in lines if line["id"] == str(client.client_id()))
assert own["name"] == "tester", own
if major >= 5:
    assert own["lib-name"] == "redis-py" and own["resp"] == str(protocol), own
    assert str(client.client_info()["id"]) == own["id"], own
victim = redis.Redis(**options, client_name="victim", single_connection_client=True)
assert client.client_kill_filter(_id=victim.client_id()) == 1
try:
    victim.connection.send_command("PING")
    victim.connection.read_response()
    raise AssertionError("it was killed")
except (redis.ConnectionError, OSError):
    pass
assert client.command_count() > 60 and client.command()["get"]["arity"] == 2
assert b"get" in client.command_list() or "get" in client.command_list()
assert client.command_getkeys("MSET", "a", 1, "b", 2) in ([b"a", b"b"], ["a", "b"])
assert client.time()[0] > 1_600_000_000 and client.echo("hi") == b"hi"

# Many threads over one pool.
client.set("shared", 0)
workers = [threading.Thread(target=lambda: [client.incr("shared") for _ in range(200)]) for _ in range(8)]
[worker.start() for worker in workers]
[worker.join() for worker in workers]
assert client.get("shared") == b"1600"

# A megabyte and a key that is not text, there and back; then good-bye.
big = bytes(1 << 20)
assert client.set(b"\xff\x00", big) is True and client.get(b"\xff\x00") == big
assert client.execute_command("QUIT") in (True, b"OK", "OK")
print("redis-py", "done")
