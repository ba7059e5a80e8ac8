"""Sends commands to a RESP server over TLS, one after the other, and prints each reply on a line.

A command "-" waits for a line on stdin.

usage: ask_resp.py PORT IDENTITY COMMAND...
"""
import socket
import ssl
import sys

port, identity, commands = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
context = ssl.create_default_context(cafile="certs/ca.pem")
context.verify_flags |= ssl.VERIFY_X509_STRICT
context.load_cert_chain(f"certs/{identity}.pem", f"certs/{identity}-key.pem")


def reply(stream):
    line = stream.readline().rstrip(b"\r\n").decode()
    kind, rest = line[:1], line[1:]
    if kind == "$" and rest != "-1":
        text = stream.read(int(rest)).decode()
        stream.readline()
        return text
    if kind == "*":
        return "[" + " ".join(reply(stream) for _ in range(int(rest))) + "]"
    return {"$": "nil", ":": rest, "+": rest}.get(kind, line or "closed")


with socket.create_connection(("127.0.0.1", port), timeout=60) as plain:
    with context.wrap_socket(plain, server_hostname="localhost") as tls:
        stream = tls.makefile("rb")
        for command in commands:
            if command == "-":
                sys.stdin.readline()
                continue
            try:
                tls.sendall(command.encode() + b"\r\n")
                print(reply(stream), flush=True)
            except OSError:
                print("closed")
