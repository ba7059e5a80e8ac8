"""Says "ping" over TLS and prints its own port and the answer. With an announcement, that stands before the TLS.

Usage: proxy_client.py PORT CA CERT KEY [ANNOUNCEMENT IN HEX]
"""
import socket
import ssl
import sys

port, ca, cert, key, *announcement = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
context.load_cert_chain(cert, key)
plain = socket.create_connection(('127.0.0.1', int(port)))
own_port = plain.getsockname()[1]
for piece in announcement:
    plain.sendall(bytes.fromhex(piece))
s = context.wrap_socket(plain, server_hostname='localhost')
s.sendall(b'ping')
answer = b''
while piece := s.recv(1 << 16):
    answer += piece
print(own_port, answer.decode())
