"""A TLS server that misbehaves in one way, for one connection: tls_peer.py CERT KEY greet|drip|slow|control"""

import socket
import ssl
import sys
import time

certificate, key, way = sys.argv[1:4]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
if way == "greet":
    context.maximum_version = ssl.TLSVersion.TLSv1_2
listener = socket.create_server(("127.0.0.1", 0))
print(f"listening {way} tls://127.0.0.1:{listener.getsockname()[1]}", flush=True)
connection, _ = listener.accept()
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
session = context.wrap_bio(incoming, outgoing, server_side=True)


def patiently(step):
    """Does a step of TLS, waiting for what it needs; what it says is left in `outgoing`."""
    while True:
        try:
            return step()
        except ssl.SSLWantReadError:
            connection.sendall(outgoing.read())
            received = connection.recv(65536)
            if not received:
                sys.exit()
            incoming.write(received)


patiently(session.do_handshake)
if way == "greet":
    # In one piece with Finished, and then it waits for an answer.
    session.write(b"220 ready\r\n")
    connection.sendall(outgoing.read())
    print(patiently(lambda: session.read(100)), flush=True)
elif way in ("drip", "slow"):
    patiently(lambda: session.read(65536))
    end = time.monotonic() + 40
    while time.monotonic() < end:
        if way == "drip":
            session.write(b"H")
            connection.sendall(outgoing.read())
        time.sleep(0.05)
elif way == "control":
    patiently(lambda: session.read(65536))
    session.write("HTTP/1.1 500 \x1b[2J\x9b31m\r\nContent-Length: 8\r\n\r\n\x1b]0;own\x07".encode("latin-1"))
    connection.sendall(outgoing.read())
    time.sleep(1)
