"""Makes chains of certificates with faults, and writes down what OpenSSL and Python make of each.

Every part of a certificate is written as DER here, so that any of it can be wrong; only keys and signatures are made by
the package cryptography. Usage: chains.py FOLDER COUNT SEED. For the case N, FOLDER has N.pem, the certificate in question
with those that come with it; N-key.pem, its key; N-ca.pem, what is trusted; and for a CA N-shown.pem, a certificate that
it issued, with its chain. FOLDER/index.json lists the cases.
"""

import datetime
import hashlib
import json
import os
import random
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)


def tlv(tag, *parts):
    body = b"".join(parts)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def seq(*parts):
    return tlv(0x30, *parts)


def oid(text):
    first, second, *rest = (int(part) for part in text.split("."))
    out = bytes([first * 40 + second])
    for value in rest:
        septets = [value & 127]
        value >>= 7
        while value:
            septets.insert(0, value & 127 | 128)
            value >>= 7
        out += bytes(septets)
    return tlv(6, out)


def integer(value):
    return tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def attribute(kind, text, tag=0x0C, encoding="utf-8"):
    return tlv(0x31, seq(oid(kind), tlv(tag, text.encode(encoding))))


def name(text, tag=0x0C, encoding="utf-8"):
    return seq(attribute("2.5.4.3", text, tag, encoding))


def utc(days):
    return tlv(0x17, (NOW + datetime.timedelta(days=days)).strftime("%y%m%d%H%M%SZ").encode())


def generalized(days, form="%Y%m%d%H%M%SZ"):
    return tlv(0x18, (NOW + datetime.timedelta(days=days)).strftime(form).encode())


def extension(kind, value, critical=False):
    return seq(oid(kind), tlv(1, b"\xff") if critical else b"", tlv(4, value))


def bits(*set_bits):
    if not set_bits:
        return tlv(3, b"\0")
    octets = bytearray(max(set_bits) // 8 + 1)
    for bit in set_bits:
        octets[bit // 8] |= 0x80 >> bit % 8
    return tlv(3, bytes([7 - max(set_bits) % 8]), bytes(octets))


def dns(text):
    return tlv(0x82, text.encode())


def email(text):
    return tlv(0x81, text.encode())


def uri(text):
    return tlv(0x86, text.encode())


def address(*octets):
    return tlv(0x87, bytes(octets))


def directory(der):
    return tlv(0xA4, der)


def constraints(permitted=(), excluded=()):
    trees = [tlv(tag, *(seq(base) for base in bases)) for tag, bases in ((0xA0, permitted), (0xA1, excluded)) if bases]
    return extension("2.5.29.30", seq(*trees), True)


ECDSA = {n: seq(oid("1.2.840.10045.4.%s" % n)) for n in ("1", "3.1", "3.2", "3.3", "3.4")}
RSA = {n: seq(oid("1.2.840.113549.1.1.%d" % n), tlv(5)) for n in (4, 5, 11, 12, 13)}
ED25519 = seq(oid("1.3.101.112"))
PSS = seq(
    oid("1.2.840.113549.1.1.10"),
    seq(
        tlv(0xA0, seq(oid("2.16.840.1.101.3.4.2.1"), tlv(5))),
        tlv(0xA1, seq(oid("1.2.840.113549.1.1.8"), seq(oid("2.16.840.1.101.3.4.2.1"), tlv(5)))),
        tlv(0xA2, integer(32)),
    ),
)
HASHES = {"1": hashes.SHA1, "3.1": hashes.SHA224, "3.2": hashes.SHA256, "3.3": hashes.SHA384, "3.4": hashes.SHA512}
HASHES.update({4: hashes.MD5, 5: hashes.SHA1, 11: hashes.SHA256, 12: hashes.SHA384, 13: hashes.SHA512})

MAKERS = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "p224": lambda: ec.generate_private_key(ec.SECP224R1()),
    "k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "brainpool": lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "rsa1024": lambda: rsa.generate_private_key(65537, 1024),
    "rsa2048": lambda: rsa.generate_private_key(65537, 2048),
}
POOL = {}


def key(kind, number=0):
    """The key of this kind and number: making RSA keys is slow, so they are made once."""
    if (kind, number) not in POOL:
        POOL[kind, number] = MAKERS[kind]()
    return POOL[kind, number]


def spki(private):
    public = private.public_key()
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_identifier(private):
    public = private.public_key()
    if isinstance(private, rsa.RSAPrivateKey):
        raw = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    elif isinstance(private, ed25519.Ed25519PrivateKey):
        raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    else:
        raw = public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return hashlib.sha1(raw).digest()


class Spec:
    """What is to be written into a certificate."""

    def __init__(self, kind, number, private):
        self.kind, self.number, self.key = kind, number, private
        is_ca = kind == "ca"
        self.subject = name("CA %d" % number if is_ca else "localhost" if kind == "server" else "alice")
        self.issuer_name = None
        self.version, self.serial = tlv(0xA0, integer(2)), integer(random.getrandbits(100) | 1 << 100)
        self.begin, self.end = utc(-2), utc(300)
        self.algorithm = self.other_algorithm = self.digest = None
        self.basic, self.basic_critical = (True, None) if is_ca else (False, None), True
        self.usage = [5, 6] if is_ca else [0]
        self.extended = None if is_ca else ["1"] if kind == "server" else ["2"]
        self.alt_names, self.alt_critical = [dns("localhost"), address(127, 0, 0, 1)] if kind == "server" else None, False
        self.subject_key = self.authority_key = "key"
        self.netscape, self.extra, self.unique = None, [], b""
        self.signer = None
        self.spoil = False

    def extensions(self, issuer):
        found = []
        if self.basic is not None:
            ca, length = self.basic
            parts = [tlv(1, b"\xff")] if ca else []
            parts += [] if length is None else [integer(length)]
            found.append(extension("2.5.29.19", seq(*parts), self.basic_critical))
        if self.usage is not None:
            found.append(extension("2.5.29.15", bits(*self.usage), True))
        if self.extended is not None:
            uses = [oid(use if "." in use else "1.3.6.1.5.5.7.3." + use) for use in self.extended]
            found.append(extension("2.5.29.37", seq(*uses)))
        if self.alt_names is not None:
            found.append(extension("2.5.29.17", seq(*self.alt_names), self.alt_critical))
        if self.subject_key:
            value = tlv(4, key_identifier(self.key) if self.subject_key != "wrong" else b"another key")
            found.append(extension("2.5.29.14", value, self.subject_key == "critical"))
        if self.authority_key:
            value = tlv(0x80, key_identifier(issuer.key) if self.authority_key != "wrong" else b"another key")
            if self.authority_key in ("names", "wrong serial"):
                serial = issuer.serial[2:] if self.authority_key == "names" else b"\x07"
                value = tlv(0xA1, directory(issuer.issuer_name or issuer.subject)) + tlv(0x82, serial)
            value = b"" if self.authority_key == "empty" else value
            if self.authority_key == "copied":
                value = tlv(0x80, b"another key") if issuer.subject_key == "wrong" else value
            found.append(extension("2.5.29.35", seq(value), self.authority_key == "critical"))
        if self.netscape is not None:
            found.append(extension("2.16.840.1.113730.1.1", bits(*self.netscape)))
        return found + self.extra

    def build(self, issuer):
        signer = self.signer or issuer.key
        if isinstance(signer, rsa.RSAPrivateKey):
            digest = self.digest if self.digest in RSA or self.digest == "pss" else 11
            algorithm = PSS if digest == "pss" else RSA[digest]
            scheme = padding.PSS(padding.MGF1(hashes.SHA256()), 32) if digest == "pss" else padding.PKCS1v15()
            sign = lambda data: signer.sign(data, scheme, HASHES.get(digest, hashes.SHA256)())
        elif isinstance(signer, ed25519.Ed25519PrivateKey):
            algorithm, sign = ED25519, signer.sign
        else:
            digest = self.digest if self.digest in ECDSA else "3.2"
            algorithm = ECDSA[digest]
            sign = lambda data: signer.sign(data, ec.ECDSA(HASHES[digest]()))
        algorithm = self.algorithm or algorithm
        extensions = self.extensions(issuer)
        extensions = tlv(0xA3, seq(*extensions)) if extensions else b""
        signed = seq(
            self.version,
            self.serial,
            algorithm,
            self.issuer_name or issuer.subject,
            seq(self.begin, self.end),
            self.subject,
            spki(self.key),
            self.unique,
            extensions,
        )
        signature = bytearray(sign(signed))
        if self.spoil:
            signature[-1] ^= 1
        return seq(signed, self.other_algorithm or algorithm, tlv(3, b"\0", bytes(signature)))


def change(**fields):
    def apply(spec):
        for field, value in fields.items():
            setattr(spec, field, value)

    return apply


def own_key(kind, number=7):
    return lambda spec: setattr(spec, "key", key(kind, number))


def adding(der):
    return lambda spec: spec.extra.append(der)


def versionless(spec):
    spec.version, spec.basic, spec.usage, spec.extended, spec.alt_names = b"", None, None, None, None
    spec.subject_key = spec.authority_key = None


def reencoded(spec):
    """The issuer's name in a string of another type, with other spaces and letters."""
    spec.issuer_name = name("  ca %d " % spec.above, 0x13)


UNKNOWN = "1.3.6.1.4.1.99999.1"
# For any certificate.
ANY = {
    "expired": change(end=utc(-1)),
    "not yet valid": change(begin=utc(1)),
    "ends before it begins": change(begin=utc(-1), end=utc(-2)),
    "generalized times": change(begin=generalized(-1), end=generalized(30000)),
    "fractional seconds": change(begin=generalized(-1, "%Y%m%d%H%M%S.5Z")),
    "time without seconds": change(begin=tlv(0x17, (NOW - datetime.timedelta(days=1)).strftime("%y%m%d%H%MZ").encode())),
    "time with an offset": change(begin=tlv(0x17, (NOW - datetime.timedelta(days=1)).strftime("%y%m%d%H%M%S+0000").encode())),
    "unknown critical extension": adding(extension(UNKNOWN, tlv(5), True)),
    "unknown extension": adding(extension(UNKNOWN, tlv(5))),
    "critical policies": adding(extension("2.5.29.32", seq(seq(oid("2.5.29.32.0"))), True)),
    "policies": adding(extension("2.5.29.32", seq(seq(oid("2.5.29.32.0"))))),
    "issuer unique identifier": change(unique=tlv(0x81, b"\0\x01")),
    "version 1": versionless,
    "version 1 with extensions": change(version=b""),
    "version 2 with extensions": change(version=tlv(0xA0, integer(1))),
    "serial number zero": change(serial=integer(0)),
    "negative serial number": change(serial=integer(-5)),
    "long serial number": change(serial=tlv(2, b"\x01" * 24)),
    "no subject key identifier": change(subject_key=None),
    "another subject key identifier": change(subject_key="wrong"),
    "critical subject key identifier": change(subject_key="critical"),
    "no authority key identifier": change(authority_key=None),
    "another authority key identifier": change(authority_key="wrong"),
    "critical authority key identifier": change(authority_key="critical"),
    "empty authority key identifier": change(authority_key="empty"),
    "authority by name and serial": change(authority_key="names"),
    "authority by another serial": change(authority_key="wrong serial"),
    "issuer reencoded": reencoded,
    "another issuer name": change(issuer_name=name("somebody else")),
    "spoilt signature": change(spoil=True),
    "signed with another key": change(signer=key("p256", 99)),
    "signed with SHA-1": change(digest="1"),
    "signed with SHA-224": change(digest="3.1"),
    "signed with SHA-384": change(digest="3.3"),
    "signed with SHA-512": change(digest="3.4"),
    "ECDSA with NULL": change(algorithm=seq(oid("1.2.840.10045.4.3.2"), tlv(5))),
    "two signature algorithms": change(other_algorithm=ECDSA["3.3"]),
    "empty key usage": change(usage=[]),
    "no key usage": change(usage=None),
    "key usage for data": change(usage=[3]),
    "key usage for keys": change(usage=[2]),
    "key usage for agreement": change(usage=[4]),
    "key usage for everything": change(usage=[0, 2, 5, 6]),
    "key usage for lists": change(usage=[0, 6]),
    "no extended usage": change(extended=None),
    "extended usage server": change(extended=["1"]),
    "extended usage client": change(extended=["2"]),
    "extended usage both": change(extended=["1", "2"]),
    "extended usage any": change(extended=["2.5.29.37.0"]),
    "extended usage code": change(extended=["3"]),
    "extended usage gated": change(extended=["1.3.6.1.4.1.311.10.3.3"]),
    "extended usage empty": change(extended=[]),
    "netscape client": change(netscape=[0]),
    "netscape server": change(netscape=[1]),
    "netscape ca": change(netscape=[5]),
    "basic constraints missing": change(basic=None),
    "basic constraints not critical": change(basic_critical=False),
    "says that it is a CA": change(basic=(True, None)),
    "says that it is no CA": change(basic=(False, None)),
    "path length of no CA": change(basic=(False, 0)),
    "empty subject": change(subject=seq()),
    "key p384": own_key("p384"),
    "key p521": own_key("p521"),
    "key p224": own_key("p224"),
    "key secp256k1": own_key("k1"),
    "key brainpool": own_key("brainpool"),
    "key ed25519": own_key("ed25519"),
    "key rsa 1024": own_key("rsa1024"),
    "key rsa 2048": own_key("rsa2048"),
}
# For CAs alone.
CAS = {
    "path length 0": change(basic=(True, 0)),
    "path length 1": change(basic=(True, 1)),
    "issued under its own name": lambda spec: setattr(spec, "subject", name("CA %d" % spec.above)),
}
for what, base, other in [
    ("DNS localhost", dns("localhost"), None),
    ("DNS example.org", dns("example.org"), None),
    ("DNS empty", dns(""), None),
    ("IP loopback", address(127, 0, 0, 0, 255, 0, 0, 0), None),
    ("IP elsewhere", address(10, 0, 0, 0, 255, 0, 0, 0), None),
    ("URI", uri(".example.org"), None),
    ("URI elsewhere", uri("example.com"), None),
    ("e-mail host", email("example.org"), None),
    ("e-mail below", email(".example.org"), None),
    ("e-mail box", email("alice@example.org"), None),
    ("directory", directory(seq(attribute("2.5.4.3", "LOCALHOST", 0x13))), None),
    ("directory elsewhere", directory(seq(attribute("2.5.4.10", "Example"))), None),
    ("DNS and IP", dns("localhost"), address(127, 0, 0, 0, 255, 0, 0, 0)),
]:
    both = [base] + ([other] if other else [])
    CAS["permits " + what] = adding(constraints(permitted=both))
    CAS["excludes " + what] = adding(constraints(excluded=both))
# For the certificate of a peer alone.
LEAVES = {
    "no alternative names": change(alt_names=None),
    "empty alternative names": change(alt_names=[]),
    "critical alternative names": change(alt_critical=True),
    "empty subject, critical names": change(subject=seq(), alt_critical=True, alt_names=[dns("localhost")]),
    "e-mail name": change(alt_names=[dns("localhost"), email("alice@example.org")]),
    "e-mail name elsewhere": change(alt_names=[dns("localhost"), email("alice@a.example.com")]),
    "URI name": change(alt_names=[dns("localhost"), uri("spiffe://a.example.org/alice")]),
    "URI name without authority": change(alt_names=[dns("localhost"), uri("urn:a:b")]),
    "directory name": change(alt_names=[dns("localhost"), directory(name("elsewhere"))]),
    "wildcard": change(alt_names=[dns("*.example.org")]),
    "name with a final dot": change(alt_names=[dns("localhost.")]),
    "name below": change(alt_names=[dns("a.example.org"), dns("localhost")]),
    "address only": change(alt_names=[address(127, 0, 0, 1)]),
    "subject with an address": change(subject=seq(attribute("2.5.4.3", "localhost"), attribute("1.2.840.113549.1.9.1", "a@example.com", 0x16))),
    "subject like a host": change(subject=name("www.example.com"), alt_names=None),
    "subject in BMP": change(subject=name("localhost", 0x1E, "utf-16-be")),
}


BESIDE_THE_ROOT = {
    "spoilt signature",
    "signed with another key",
    "another authority key identifier",
    "authority by another serial",
    "another issuer name",
    "issuer reencoded",
}


def faults(kind, target):
    """Faults of a certificate of this kind, by name. A CA in question is not asked for names of others."""
    of_cas = {what: fault for what, fault in CAS.items() if target != "ca" or what[:8] not in ("permits ", "excludes")}
    return {**ANY, **(of_cas if kind == "ca" else LEAVES)}


class Case:
    def __init__(self, target, depth, trust="root"):
        self.target, self.trust, self.what = target, trust, []
        self.cas = [Spec("ca", number, key("p256", number)) for number in range(depth + 1)]
        self.peer = Spec("server" if target == "ca" else target, 50, key("p256", 50))
        for below, above in zip(self.cas[1:] + [self.peer], self.cas):
            below.above = above.number
        self.cas[0].above = 0
        # Of the root, nothing is known where it is only assumed.
        self.root_is_plain = True
        if target == "ca":
            self.peer.authority_key = "copied"

    def role(self):
        """A CA that issues to clients only is tried with one."""
        if self.target == "ca":
            return "client" if self.cas[-1].extended == ["2"] else "server"
        return self.target

    def spoil(self, at, what):
        """0 is the certificate of the peer, 1 its issuer, and so on."""
        spec = [self.peer, *reversed(self.cas)][at]
        faults(spec.kind, self.target)[what](spec)
        self.what.append("%s: %s" % (["peer", "issuer", "issuer's issuer"][at] if at < 3 else at, what))
        # What shows only beside the root cannot be seen without it.
        top = self.cas[1] if len(self.cas) > 1 else self.peer
        self.root_is_plain &= spec is not self.cas[0] and not (spec is top and what in BESIDE_THE_ROOT)

    def write(self, folder, number):
        issuers = [self.cas[0]] + self.cas
        cas = [spec.build(issuer) for spec, issuer in zip(self.cas, issuers)]
        if self.role() == "client":
            self.peer.extended = ["2"] if self.target == "ca" else self.peer.extended
        peer = self.peer.build(self.cas[-1])
        chain = [peer, *reversed(cas[1:])]
        stranger = Spec("ca", 0, key("p256", 98))
        trusted = {
            "root": cas[:1],
            "all": cas,
            "issuer": cas[-1:],
            "itself": [peer],
            "nothing": [stranger.build(stranger)],
            "stranger too": [stranger.build(stranger), cas[0]],
        }[self.trust]
        self.path = os.path.join(folder, "%04d" % number)
        shown = chain
        if self.target == "ca":
            chain = [cas[-1], *reversed(cas[1:-1])]
            write(self.path + "-shown.pem", shown)
        write(self.path + ".pem", chain)
        write(self.path + "-ca.pem", trusted)
        self.shown = self.path + ("-shown.pem" if self.target == "ca" else ".pem")
        write(self.path + "-peer.pem", shown[:1])
        with open(self.path + "-key.pem", "wb") as file:
            file.write(
                self.peer.key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
            )

    def host(self):
        """A name that the certificate of a server has."""
        for alt_name in self.peer.alt_names or []:
            if alt_name[0] == 0x82:
                return alt_name[2:].decode().replace("*.", "any.")
            if alt_name[0] == 0x87:
                return ".".join(str(octet) for octet in alt_name[2:])
        return "www.example.com" if b"www" in self.peer.subject else "localhost"

    def ask(self):
        role = self.role()
        command = ["openssl", "verify", "-x509_strict", "-auth_level", "2", "-no-CApath", "-no-CAstore"]
        command += ["-purpose", "ssl" + role, "-CAfile", self.path + "-ca.pem", "-untrusted", self.shown]
        verified = subprocess.run(command + [self.path + "-peer.pem"], capture_output=True, text=True, check=False)
        python = handshake(self, role)
        return {
            "name": os.path.basename(self.path),
            "what": "%s, %d CAs, trusted: %s; %s" % (self.target, len(self.cas), self.trust, "; ".join(self.what)),
            "faults": self.what,
            "target": self.target,
            "role": role,
            "host": self.host(),
            "root_is_plain": self.root_is_plain and self.trust == "root",
            "openssl": "" if verified.returncode == 0 else verified.stderr or "?",
            "python": python,
        }


def write(path, ders):
    with open(path, "w", encoding="ascii") as file:
        file.write("".join(ssl.DER_cert_to_PEM_cert(der) for der in ders))


def handshake(case, role):
    """Why Python refuses the peer of a handshake in memory; nothing when it does not."""
    try:
        purpose = ssl.Purpose.SERVER_AUTH if role == "server" else ssl.Purpose.CLIENT_AUTH
        judge = ssl.create_default_context(purpose, cafile=case.path + "-ca.pem")
        # The defaults of Python 3.13.
        judge.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        judge.verify_mode = ssl.CERT_REQUIRED
        judged = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if role == "server" else ssl.PROTOCOL_TLS_CLIENT)
        judged.check_hostname, judged.verify_mode = False, ssl.CERT_NONE
        judged.set_ciphers("ALL:@SECLEVEL=0")
        judged.load_cert_chain(case.shown, case.path + "-key.pem")
        if role == "client":
            # A server without a certificate answers nobody: its own is an honest one.
            judge.load_cert_chain(HONEST + ".pem", HONEST + "-key.pem")
    except (ssl.SSLError, OSError) as error:
        return "it cannot be loaded: %s" % error
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    if role == "server":
        ends = [judge.wrap_bio(there, back, server_hostname=case.host()), judged.wrap_bio(back, there, server_side=True)]
    else:
        ends = [judged.wrap_bio(there, back), judge.wrap_bio(back, there, server_side=True)]
    verdict = "it did not end"
    for _ in range(6):
        for end in ends:
            try:
                end.do_handshake()
                if end.context is judge:
                    return ""
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                return str(error)
    return verdict


HONEST = ""
TRUSTS = ["all", "issuer", "itself", "nothing", "stranger too"]
TRUSTS_OF_CAS = [trust for trust in TRUSTS if trust != "itself"]


def drawn(count):
    """Each fault alone in each place, each way of trusting, and then faults in pairs, as they come."""
    for target in ("server", "client", "ca"):
        for depth in (0, 1, 2, 6, 7, 9):
            yield Case(target, depth)
        for trust in TRUSTS if target != "ca" else TRUSTS_OF_CAS:
            for depth in (0, 1, 2):
                yield Case(target, depth, trust)
        for at in {"server": (0, 1, 2, 3), "client": (0, 1), "ca": (1, 2)}[target]:
            for what in faults("ca" if at else target, target):
                case = Case(target, 2)
                case.spoil(at, what)
                yield case
    for _ in range(count):
        target = random.choice(("server", "client", "ca"))
        trust = random.choice(["root"] * 5 + (TRUSTS if target != "ca" else TRUSTS_OF_CAS))
        case = Case(target, random.choice((0, 1, 1, 2, 2, 3)), trust)
        for _ in range(random.choice((1, 2, 2, 3))):
            places = range(1 if target == "ca" else 0, len(case.cas) + 1)
            at = random.choice(places)
            case.spoil(at, random.choice(list(faults("ca" if at else target, target))))
        yield case


def main(folder, count, seed):
    global HONEST
    random.seed(seed)
    honest = Case("server", 0)
    honest.write(folder, 9999)
    HONEST = honest.path
    cases = list(drawn(count))
    for number, case in enumerate(cases):
        case.write(folder, number)
    with ThreadPoolExecutor(2) as pool:
        index = list(pool.map(Case.ask, cases))
    with open(os.path.join(folder, "index.json"), "w", encoding="utf-8") as file:
        json.dump(index, file)


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
