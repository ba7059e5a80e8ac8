"""The recipe's XML-RPC clients, changed only where Python has changed.

Usage: recipe_xmlrpc.py PORT SERVER_CERT [CLIENT_CERT CLIENT_KEY]
"""
import ssl
import sys
from xmlrpc.client import Fault, SafeTransport, ServerProxy


class VerifyCertSafeTransport(SafeTransport):
    def __init__(self, cafile, certfile=None, keyfile=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile)
        if certfile:
            context.load_cert_chain(certfile, keyfile)
        SafeTransport.__init__(self, context=context)


port, *files = sys.argv[1:]
s = ServerProxy(f'https://localhost:{port}', transport=VerifyCertSafeTransport(*files), allow_none=True)
print(s.set('foo', 'bar'))
print(s.set('spam', [1, 2, 3]))
print(sorted(s.keys()))
print(s.get('foo'))
print(s.get('spam'))
print(s.delete('spam'))
print(s.exists('spam'))
try:
    s.get('spam')
except Fault as fault:
    print(fault.faultCode, fault.faultString)
