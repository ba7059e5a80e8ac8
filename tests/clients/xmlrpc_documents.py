"""Documents made by a seed, judged by Python's expat and xmlrpc.client and by the server: xmlrpc_documents.py PORT SEED COUNT

What expat refuses the server must refuse. What expat takes the server may not call malformed. What the server stores must
be what Python reads.
"""

import http.client
import random
import sys
import xml.parsers.expat
import xmlrpc.client

port, seed, count = map(int, sys.argv[1:4])
chance = random.Random(seed)
connection = http.client.HTTPConnection("127.0.0.1", port)

# No characters that only the fifth edition of XML 1.0 has in names: expat knows the fourth.
TOKENS = [
    "<", "&", "]]>", "]]", "--", "<!-- a -->", "<!-- a -- b -->", "<!--->", "<!-- a --->", "<?p x?>", "<?p?>", "<?p",
    "<?xml version='1.0'?>", "<?XML x?>", "<??>", "&amp;", "&lt;", "&quot;", "&#65;", "&#x41;", "&#X41;", "&#0;", "&#x;",
    "&#;", "&#55296;", "&#x10FFFF;", "&#x110000;", "&foo;", "& ", "&amp", ' a="1"', "a='1'", ' a="<"', ' a="&lt;"',
    ' a="&"', " a=1", " a", '"', "'", "\r", "\r\n", "\n", "\t", " ", "\x01", "\x0b", "\x7f", "\ufffe", "\xe9",
    "<![CDATA[x]]>", "<![CDATA[ ]] ]]]>", "<![CDATA[", "<![cdata[x]]>", ">", "/", "</value>", "<value>",
    "=", ";", "#", "x",
]  # fmt: skip
DECLARATIONS = [
    "", "<?xml version='1.0'?>", '<?xml version="1.0" encoding="utf-8"?>', "<?xml version='1.0' standalone='yes' ?>\n",
    "<?xml?>", "<?xml encoding='utf-8'?>", "<?xml encoding='utf-8' version='1.0'?>", "<?xml version='1.0'encoding='utf-8'?>",
    "<?xml version='1.0' standalone='maybe'?>", "<?xml version='1.0' standalone='no' encoding='utf-8'?>", " <?xml version='1.0'?>",
    "<?xml version='1.0' encoding=''?>", "<?xml version = \"1.0\"\tencoding = 'UTF-8'?>", "<?xml version='1.0' a='b'?>",
]  # fmt: skip
ENCODINGS = [
    "iso-8859-1", "iso-8859-2", "iso-8859-5", "iso-8859-7", "iso-8859-9", "iso-8859-15", "windows-1250", "windows-1251",
    "windows-1252", "cp1252", "koi8-r", "latin_1", "utf-8", "us-ascii",
]  # fmt: skip


def text():
    return "".join(chance.choice(["a", "b ", "\xe9", "\u20ac", "&lt;", "&#13;", "\n", "\r\n", "]]", "\U0001f600"]) for _ in range(chance.randrange(5)))


def value(depth=0):
    kind = chance.randrange(7 if depth < 3 else 4)
    if kind == 0:
        return f"<value><int>{chance.randrange(-9, 9)}</int></value>"
    if kind == 1:
        return f"<value>{text()}</value>"
    if kind == 2:
        return f"<value><boolean>{chance.randrange(2)}</boolean></value>"
    if kind == 3:
        return f"<value><string>{text()}</string></value>"
    if kind in (4, 5):
        members = (f"<member><name>{chance.choice('abc')}</name>{value(depth + 1)}</member>" for _ in range(chance.randrange(4)))
        return f"<value><struct>{''.join(members)}</struct></value>"
    return f"<value><array><data>{''.join(value(depth + 1) for _ in range(chance.randrange(4)))}</data></array></value>"


def document():
    declaration = chance.choice(DECLARATIONS[:4] if chance.random() < 0.7 else DECLARATIONS)
    space = chance.choice(["", "\n", " "])
    made = (
        f"{declaration}<methodCall>{space}<methodName>set</methodName>{space}<params><param><value>k</value></param>"
        f"{space}<param>{value()}</param></params></methodCall>{space}"
    )
    for _ in range(chance.choice([0, 0, 1, 1, 1, 2])):
        at = chance.randrange(len(made) + 1)
        if chance.random() < 0.8:
            made = made[:at] + chance.choice(TOKENS) + made[at:]
        else:
            made = made[:at] + made[at + chance.randrange(1, 4) :]
    return made


def post(body):
    connection.request("POST", "/RPC2", body, {"Content-Type": "text/xml"})
    return connection.getresponse().read()


def ask(body):
    """The value the server answers, or its fault."""
    try:
        return xmlrpc.client.loads(post(body), use_builtin_types=True)[0][0], None
    except xmlrpc.client.Fault as fault:
        return None, fault.faultString


def is_well_formed(body):
    try:
        xml.parsers.expat.ParserCreate().Parse(body, True)
        return True
    except (xml.parsers.expat.ExpatError, ValueError, LookupError):
        return False


GET = xmlrpc.client.dumps(("k",), "get").encode()
taken = refused = 0
for number in range(count):
    made = document()
    body = made.encode()
    if chance.random() < 0.3 and not made.lstrip().startswith("<?"):
        encoding = chance.choice(ENCODINGS)
        body = f"<?xml version='1.0' encoding='{encoding}'?>{made}".encode(encoding, "xmlcharrefreplace")
    well_formed = is_well_formed(body)
    _, fault = ask(body)
    if "version=''" in made:
        continue  # Expat takes it; XML 1.0, 2.8, does not.
    if not well_formed:
        assert fault, f"seed {seed}, document {number}: expat refuses {body}"
        refused += 1
        continue
    assert fault is None or "Expat" not in fault, f"seed {seed}, document {number}: {fault}: expat takes {body}"
    if fault is None:
        params, method = xmlrpc.client.loads(body, use_builtin_types=True)
        stored, fault = ask(GET) if params[0] == "k" else (params[1], None)
        assert (fault, stored) == (None, params[1]), f"seed {seed}, document {number}: {stored!r}, {fault}, for {body}"
        taken += 1

# Every byte of every encoding of one byte.
for encoding in ENCODINGS:
    for byte in range(0x80, 0x100):
        head = f"<?xml version='1.0' encoding='{encoding}'?><methodCall><methodName>set</methodName><params><param><value>k</value></param><param><value>"
        body = head.encode() + bytes([byte]) + b"</value></param></params></methodCall>"
        _, fault = ask(body)
        if not is_well_formed(body):
            assert fault, f"{encoding}: {byte:#x} is taken"
            continue
        stored, lost = ask(GET)
        wanted = xmlrpc.client.loads(body)[0][1]
        assert (fault, lost, stored) == (None, None, wanted), f"{encoding}: {byte:#x} is {stored!r}, not {wanted!r}: {fault}"

assert taken > count // 4 and refused > count // 8, f"the documents say little: {taken} taken, {refused} refused of {count}"
print(f"{taken} taken, {refused} refused of {count}")
