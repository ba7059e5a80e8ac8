"""Keeps a connection, and resumes its session, while a test changes things in between.

usage: session.py PORT IDENTITY VERSION ACTION...

Actions, each printing one line: "say" echoes a word over the open connection, "resume" opens another connection with
the session of the first, "fresh" opens one without, "end" reads to the end of the open connection. Between two actions
it waits for a line on stdin.
"""
import socket
import ssl
import sys

port, identity, version, actions = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]
context = ssl.create_default_context(cafile="certs/ca.pem")
context.verify_flags |= ssl.VERIFY_X509_STRICT
context.load_cert_chain(f"certs/{identity}.pem", f"certs/{identity}-key.pem")
if version == "1.2":
    context.maximum_version = ssl.TLSVersion.TLSv1_2


def connect(session=None):
    plain = socket.create_connection(("127.0.0.1", port), timeout=60)
    return context.wrap_socket(plain, server_hostname="localhost", session=session)


def say(tls):
    tls.sendall(b"word")
    heard = tls.recv(100)
    if heard == b"word":
        return "resumed" if tls.session_reused else "full"
    return "told: " + heard.decode().strip() if heard else "closed"


def attempt(action):
    try:
        return action()
    except ssl.SSLError as error:
        return f"refused: {error.reason}"
    except OSError:
        return "closed"


first = connect()
print(say(first), flush=True)
session = first.session
for action in actions:
    sys.stdin.readline()
    if action == "say":
        print(attempt(lambda: say(first)), flush=True)
    elif action == "resume":
        print(attempt(lambda: say(connect(session))), flush=True)
    elif action == "fresh":
        print(attempt(lambda: say(connect())), flush=True)
    elif action == "end":
        print(attempt(lambda: first.makefile("rb").read().decode().strip() or "closed"), flush=True)
