"""Reads the PROXY protocol header of each connection as the specification has it, and answers it in hexadecimal.

Listens on a free port that it prints.
"""
import socket
import struct


def exactly(connection, count):
    data = b''
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    with connection:
        fixed = exactly(connection, 16)
        assert fixed[:12] == b'\r\n\r\n\0\r\nQUIT\n', fixed
        header = fixed + exactly(connection, struct.unpack('!H', fixed[14:])[0])
        said = exactly(connection, 4)
        connection.sendall(header.hex().encode() + b' ' + said)
