"""What xmlrpc.client can do besides plain calls. With IDLE, the server closes connections that are idle that long.

Usage: xmlrpc_session.py PORT CA [IDLE]
"""
import select
import ssl
import sys
from xmlrpc.client import Fault, MultiCall, ServerProxy

port, ca, *idle = sys.argv[1:]
server = ServerProxy(f'https://localhost:{port}', context=ssl.create_default_context(cafile=ca), allow_none=True)


def socket():
    return server('transport').make_connection(f'localhost:{port}').sock


calls = MultiCall(server)
calls.set('a', 1)
calls.get('a')
calls.get('b')
calls.exists('a')
results = calls()
print(results[0], results[1], results[3])
try:
    print(results[2])
except Fault as fault:
    print(fault.faultCode, fault.faultString)
print(*server.system.listMethods())
print(server.system.methodSignature('exists'), server.system.methodHelp('get'))

first = socket().getsockname()
for number in range(100):
    server.set('number', number)
print('one connection' if socket().getsockname() == first else 'several connections')
if idle:
    # The server says good-bye; the next call finds that out and connects anew, unseen by the caller.
    assert select.select([socket()], [], [], 60)[0], 'it is not closed'
    print(server.get('number'), 'after a new connection' if socket().getsockname() != first else 'as before')
