"""Connects to an echo server over TLS, once or twice with the same session, and prints what it saw.

usage: probe.py PORT [--ca FILE] [--identity NAME] [--name HOST] [--max 1.2] [--again SECONDS]
"""
import argparse
import socket
import ssl
import time

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("--ca", default="certs/ca.pem")
parser.add_argument("--identity")
parser.add_argument("--name", default="localhost")
parser.add_argument("--max")
parser.add_argument("--again", type=float)
arguments = parser.parse_args()

context = ssl.create_default_context(cafile=arguments.ca)
context.verify_flags |= ssl.VERIFY_X509_STRICT
if arguments.identity:
    context.load_cert_chain(f"certs/{arguments.identity}.pem", f"certs/{arguments.identity}-key.pem")
if arguments.max == "1.2":
    context.maximum_version = ssl.TLSVersion.TLSv1_2


def probe(session):
    try:
        with socket.create_connection(("127.0.0.1", arguments.port), timeout=30) as plain:
            with context.wrap_socket(plain, server_hostname=arguments.name, session=session) as tls:
                tls.sendall(b"hello")
                if tls.recv(5) != b"hello":
                    print("refused: closed")
                    return None
                subject = dict(pair for entry in tls.getpeercert()["subject"] for pair in entry)
                print(tls.version(), subject["commonName"], "resumed" if tls.session_reused else "full")
                return tls.session
    except ssl.SSLError as error:
        print("refused:", error.reason)
    return None


session = probe(None)
if arguments.again is not None:
    time.sleep(arguments.again)
    probe(session)
