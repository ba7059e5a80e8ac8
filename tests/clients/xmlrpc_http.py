"""XML-RPC by hand: what HTTP/1.1 allows a client to do, one scenario after the other. Prints their names.

Usage: xmlrpc_http.py PORT CA
"""
import gzip
import http.client
import socket
import ssl
import sys
from xmlrpc.client import dumps, loads

port, ca = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=ca)


def connect():
    return http.client.HTTPSConnection('localhost', port, context=context, timeout=60)


def raw():
    return context.wrap_socket(socket.create_connection(('localhost', port), timeout=60), server_hostname='localhost')


def result(response):
    assert response.status == 200, (response.status, response.read())
    assert response.getheader('Content-Type') == 'text/xml', response.getheaders()
    body = response.read()
    if response.getheader('Content-Encoding') == 'gzip':
        body = gzip.decompress(body)
    return loads(body)[0][0]


def call(method, *params):
    return dumps(params, method, allow_none=True).encode()


def keep_alive():
    connection = connect()
    ports = set()
    for number in range(50):
        connection.request('POST', '/RPC2', call('set', 'number', number))
        assert result(connection.getresponse()) is None
        connection.request('POST', '/', call('get', 'number'))
        assert result(connection.getresponse()) == number
        ports.add(connection.sock.getsockname()[1])
    assert len(ports) == 1, ports


def chunked():
    document = call('set', 'chunks', 'x' * 100_000)
    pieces = [document[at:at + 777] for at in range(0, len(document), 777)]
    connection = connect()
    connection.request('POST', '/', iter(pieces), {'Transfer-Encoding': 'chunked'}, encode_chunked=True)
    assert result(connection.getresponse()) is None
    connection.request('POST', '/', call('get', 'chunks'))
    assert result(connection.getresponse()) == 'x' * 100_000


def compressed():
    value = ['spam'] * 10_000
    connection = connect()
    connection.request('POST', '/', gzip.compress(call('set', 'zip', value)), {'Content-Encoding': 'gzip'})
    assert result(connection.getresponse()) is None
    connection.request('POST', '/', call('get', 'zip'), {'Accept-Encoding': 'gzip'})
    response = connection.getresponse()
    assert response.getheader('Content-Encoding') == 'gzip', response.getheaders()
    assert result(response) == value
    connection.request('POST', '/', call('get', 'zip'))
    response = connection.getresponse()
    assert response.getheader('Content-Encoding') is None, response.getheaders()
    assert result(response) == value


def methods():
    connection = connect()
    for method, path, status, has_body in [
        ('GET', '/', 405, True), ('HEAD', '/', 405, False), ('PUT', '/RPC2', 405, True), ('OPTIONS', '/', 204, False),
        ('OPTIONS', '*', 204, False), ('GET', '/favicon.ico', 404, True), ('POST', '/spam', 404, True),
    ]:
        connection.request(method, path, b'')
        response = connection.getresponse()
        assert response.status == status, (method, path, response.status)
        assert status == 404 or response.getheader('Allow') == 'POST', response.getheaders()
        assert bool(response.read()) == has_body, (method, path)
    # All of these left the connection as it was.
    connection.request('POST', '/', call('exists', 'nothing'))
    assert result(connection.getresponse()) is False


def absolute_target():
    connection = connect()
    connection.request('POST', f'https://localhost:{port}/RPC2', call('exists', 'nothing'))
    assert result(connection.getresponse()) is False


def pipelined():
    documents = [call('set', 'count', number) + b'' for number in range(100)] + [call('get', 'count')]
    head = 'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n'
    with raw() as tls:
        tls.sendall(b''.join((head % len(document)).encode() + document for document in documents))
        stream = tls.makefile('rb')
        values = []
        for _ in documents:
            assert stream.readline() == b'HTTP/1.1 200 OK\r\n'
            fields = http.client.parse_headers(stream)
            values.append(loads(stream.read(int(fields['Content-Length'])))[0][0])
    assert values == [None] * 100 + [99], values


def told_to_continue():
    document = call('exists', 'nothing')
    with raw() as tls:
        head = f'POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(document)}\r\n\r\n'
        tls.sendall(head.encode())
        interim = b''
        while not interim.endswith(b'\r\n\r\n'):
            interim += tls.recv(1)
        assert interim == b'HTTP/1.1 100 Continue\r\n\r\n', interim
        tls.sendall(document)
        assert tls.makefile('rb').readline() == b'HTTP/1.1 200 OK\r\n'


def told_that_it_is_too_much_before_sending_it():
    with raw() as tls:
        tls.sendall(b'POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n')
        assert tls.makefile('rb').readline() == b'HTTP/1.1 413 Content Too Large\r\n'


def old_http():
    document = call('exists', 'nothing')
    for field, stays in [('', False), ('Connection: keep-alive\r\n', True)]:
        head = f'POST /RPC2 HTTP/1.0\r\n{field}Content-Length: {len(document)}\r\n\r\n'.encode()
        with raw() as tls:
            stream = tls.makefile('rb')
            for _ in range(2 if stays else 1):
                tls.sendall(head + document)
                assert stream.readline().endswith(b' 200 OK\r\n')
                fields = http.client.parse_headers(stream)
                assert fields['Connection'] == ('keep-alive' if stays else 'close'), fields
                stream.read(int(fields['Content-Length']))
            if not stays:
                # With close_notify before the end of the stream: Python raises when that is missing.
                tls.suppress_ragged_eofs = False
                assert stream.read() == b''


def many_keys():
    """More than are found at once: the reply comes later, still in its place, and old HTTP's connection waits for it."""
    connection = connect()
    for first in range(0, 10_000, 1000):
        sets = [{'methodName': 'set', 'params': [f'many:{number}', None]} for number in range(first, first + 1000)]
        connection.request('POST', '/', call('system.multicall', sets))
        assert result(connection.getresponse()) == [[None]] * 1000
    wanted = {f'many:{number}' for number in range(10_000)}
    requests = b''
    for document in [call('exists', 'many:1'), call('keys'), call('exists', 'nothing')]:
        requests += f'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(document)}\r\n\r\n'.encode() + document
    requests += f'POST / HTTP/1.0\r\nContent-Length: {len(call("keys"))}\r\n\r\n'.encode() + call('keys')
    with raw() as tls:
        tls.sendall(requests)
        tls.suppress_ragged_eofs = False
        stream = tls.makefile('rb')
        values = []
        for _ in range(4):
            assert stream.readline() == b'HTTP/1.1 200 OK\r\n'
            fields = http.client.parse_headers(stream)
            values.append(loads(stream.read(int(fields['Content-Length'])))[0][0])
        assert fields['Connection'] == 'close' and stream.read() == b''
    assert (values[0], values[2]) == (True, False), values
    assert wanted <= set(values[1]) and sorted(values[1]) == sorted(values[3]) and len(values[1]) == len(set(values[1]))


for scenario in [
    keep_alive, chunked, compressed, methods, absolute_target, pipelined, told_to_continue,
    told_that_it_is_too_much_before_sending_it, old_http, many_keys,
]:
    scenario()
    print(scenario.__name__)
