"""Makes calls that fail and sends documents that are no calls, and prints each fault on a line.

Usage: xmlrpc_faults.py PORT CA
"""
import ssl
import sys
from xmlrpc.client import Fault, SafeTransport, ServerProxy

port, ca = sys.argv[1:]
transport = SafeTransport(context=ssl.create_default_context(cafile=ca))
server = ServerProxy(f'https://localhost:{port}', transport=transport, allow_none=True)


def show(what, call):
    try:
        print(what, 'returned', call())
    except Fault as fault:
        print(what, fault.faultCode, fault.faultString)


for key in ['spam', "it's", 'a "b"', 'new\nline', 'ключ', '\u200b', '']:
    show(f'get {key!a}:', lambda: server.get(key))
    show(f'delete {key!a}:', lambda: server.delete(key))
show('unknown:', lambda: server.spam(1))
show('unknown:', lambda: server.system.spam())
for document in [
    '', 'spam', '<', '<methodCall>', '<methodCall><methodName>get', '<methodCall><methodName>get</methodCall>',
    '<methodCall></a>', '<methodCall><methodName>&spam;</methodName></methodCall>', '<methodCall>\x01</methodCall>',
    '<methodCall><methodName>get</methodName>\n<params>\n  <oops\n',
    '<methodCall><methodName>get</methodName></methodCall><methodCall/>',
]:
    show(f'{document!a}:', lambda: transport.request(f'localhost:{port}', '/RPC2', document.encode()))
