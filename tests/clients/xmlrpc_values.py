"""Sets a value of each type and gets it back, and looks at the type that travels. Prints how many came back the same.

Usage: xmlrpc_values.py PORT CA
"""
import gzip
import math
import ssl
import sys
from xmlrpc.client import Binary, DateTime, SafeTransport, ServerProxy, dumps


class Recorder(SafeTransport):
    """Keeps the last response as it came."""

    def parse_response(self, response):
        self.body = response.read()
        if response.getheader('Content-Encoding') == 'gzip':
            self.body = gzip.decompress(self.body)
        parser, unmarshaller = self.getparser()
        parser.feed(self.body)
        parser.close()
        return unmarshaller.close()


port, ca = sys.argv[1:]
transport = Recorder(context=ssl.create_default_context(cafile=ca))
server = ServerProxy(f'https://localhost:{port}', transport=transport, allow_none=True)


def is_legal(code):
    return code in (9, 10) or 0x20 <= code <= 0xd7ff or 0xe000 <= code <= 0xfffd or code >= 0x10000


def same(a, b):
    if isinstance(a, float) and math.isnan(a):
        return type(b) is float and math.isnan(b)
    if isinstance(a, float):
        return type(b) is float and a == b and math.copysign(1, a) == math.copysign(1, b)
    if isinstance(a, (list, tuple)):
        return type(b) is list and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return type(b) is dict and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and a == b


deep = 'the bottom'
for _ in range(30):
    deep = [{'deeper': deep}]
values = [
    ('int', 0), ('int', -1), ('int', 2**31 - 1), ('int', -2**31),
    ('boolean', True), ('boolean', False),
    ('double', 0.1), ('double', 0.0), ('double', -0.0), ('double', 1.7976931348623157e308), ('double', 5e-324),
    ('double', -1e22), ('double', math.inf), ('double', -math.inf), ('double', math.nan),
    ('string', ''), ('string', ' '), ('string', '  spam\t\n '), ('string', '<&>]]>&amp;'), ('string', '1'),
    ('string', ''.join(chr(code) for code in range(0x110000) if is_legal(code))),
    ('base64', Binary(b'')), ('base64', Binary(bytes(range(256)) * 1000)),
    ('dateTime.iso8601', DateTime('20260228T23:59:59')), ('dateTime.iso8601', DateTime('19980717T14:08:55')),
    ('nil', None),
    ('array', []), ('array', [[], [[]], {}]), ('array', list(range(20_000))),
    ('array', [1, True, 1.5, 'one', Binary(b'\x01'), None, DateTime('20260101T00:00:00'), {'a': [1]}]),
    ('struct', {}), ('struct', {'': 1, 'a b': 2, '<&>': 3, 'ключ': None, 'a': {'a': {'a': 'a'}}}),
    ('array', deep),
]
count = 0
for kind, value in values:
    assert server.set('value', value) is None
    back = server.get('value')
    assert same(value, back), f'{str(value)[:100]} came back as {str(back)[:100]}'
    assert f'<value><{kind}'.encode() in transport.body, transport.body[:200]
    count += 1


def post(value):
    """Sets to what Python would not write itself, and returns what a get is answered with."""
    document = dumps(('value', 'HERE'), 'set').replace('<string>HERE</string>', value)
    assert transport.request(f'localhost:{port}', '/RPC2', document.encode()) == (None,)
    return server.get('value'), transport.body


# A number of 64 bits stays one although a smaller type would do; text without a type is a string; CR that is written
# as a reference is kept, and as itself it is an end of line (XML 1.0, 2.11).
for document, value, travels in [
    ('<i8>5</i8>', 5, b'<i8>5</i8>'),
    ('<i8>9223372036854775807</i8>', 2**63 - 1, b'<i8>9223372036854775807</i8>'),
    ('<i8>-9223372036854775808</i8>', -2**63, b'<i8>-9223372036854775808</i8>'),
    ('<i4>7</i4>', 7, b'<int>7</int>'),
    ('untyped', 'untyped', b'<string>untyped</string>'),
    ('', '', b'<string></string>'),
    ('<string>a&#13;b&#13;&#10;c</string>', 'a\rb\r\nc', b'a&#13;b&#13;\nc'),
    ('<string>a\rb\r\nc</string>', 'a\nb\nc', b'a\nb\nc'),
    ('<string><![CDATA[<b>]]></string>', '<b>', b'&lt;b&gt;'),
]:
    back, body = post(document)
    assert same(value, back) and travels in body, (document, back, body)
    count += 1
print(count)
