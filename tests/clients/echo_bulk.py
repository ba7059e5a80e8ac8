"""Sends 50 MB while reading them back, and compares every byte.

Usage: echo_bulk.py PORT CA
"""
import os
import socket
import ssl
import sys
import threading

port, ca = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
s = context.wrap_socket(socket.create_connection(('localhost', int(port))), server_hostname='localhost')
payload = os.urandom(1 << 20) * 50
sender = threading.Thread(target=s.sendall, args=(payload,))
sender.start()
received = bytearray()
while len(received) < len(payload):
    piece = s.recv(1 << 18)
    if not piece:
        break
    received += piece
sender.join()
print(len(received), received == payload)
s.unwrap()
