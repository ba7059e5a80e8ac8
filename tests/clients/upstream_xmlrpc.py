"""The recipe's key/value server, on a free port that it prints: plain, or over TLS by wrapping its listener.

Usage: upstream_xmlrpc.py [CERT KEY]
"""
import ssl
import sys
from xmlrpc.server import SimpleXMLRPCServer


class KeyValueServer:
    _rpc_methods_ = ['get', 'set', 'delete', 'exists', 'keys']

    def __init__(self, address):
        self._data = {}
        self._serv = SimpleXMLRPCServer(address, allow_none=True, logRequests=False)
        for name in self._rpc_methods_:
            self._serv.register_function(getattr(self, name))

    def get(self, name):
        return self._data[name]

    def set(self, name, value):
        self._data[name] = value

    def delete(self, name):
        del self._data[name]

    def exists(self, name):
        return name in self._data

    def keys(self):
        return list(self._data)

    def serve_forever(self):
        self._serv.serve_forever()


server = KeyValueServer(('127.0.0.1', 0))
if sys.argv[1:]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[1:])
    server._serv.socket = context.wrap_socket(server._serv.socket, server_side=True)
print(server._serv.server_address[1], flush=True)
server.serve_forever()
