"""Has the server stopped while its reply is under way: all of it must arrive, and then a proper end.

Usage: drain.py PORT CA PID
"""
import os
import signal
import socket
import ssl
import sys
import time

port, ca, pid = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
s = context.wrap_socket(socket.create_connection(('localhost', int(port))), server_hostname='localhost')
s.sendall(bytes(2_000_000))
time.sleep(0.5)  # until the server has received what it will take while nothing is read
os.kill(int(pid), signal.SIGTERM)
time.sleep(0.5)
count = 0
while True:
    piece = s.recv(1 << 16)  # an end of stream without close_notify would raise here
    if not piece:
        break
    count += len(piece)
print('received', count, 'then end of stream')
