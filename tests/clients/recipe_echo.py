"""The recipe's echo client, changed only where Python has changed.

Usage: recipe_echo.py PORT SERVER_CERT [CLIENT_CERT CLIENT_KEY]
"""
import ssl
import sys
from socket import AF_INET, SOCK_STREAM, socket

port, server_cert, *identity = sys.argv[1:]

s = socket(AF_INET, SOCK_STREAM)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.load_verify_locations(server_cert)
if identity:
    context.load_cert_chain(*identity)
s_ssl = context.wrap_socket(s, server_hostname='localhost')
s_ssl.connect(('localhost', int(port)))
print(s_ssl.send(b'Hello World?'))
print(s_ssl.recv(8192))
