"""Asks for an answer and tells how it ends: properly, by close_notify, or cut.

Usage: ragged.py PORT CA
"""
import socket
import ssl
import sys

port, ca = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
plain = socket.create_connection(('127.0.0.1', int(port)))
s = context.wrap_socket(plain, server_hostname='localhost', suppress_ragged_eofs=False)
s.sendall(b'?')
count = 0
try:
    while piece := s.recv(1 << 16):
        count += len(piece)
    print(count, 'proper')
except (ssl.SSLEOFError, ConnectionError):
    print(count, 'cut')
