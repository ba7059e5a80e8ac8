"""Asks an admin listener as a monitoring system does: usage: metrics.py URL CA [CERT KEY]. Prints NAME{LABELS} VALUE.

The text is read by the Prometheus client library's own parser.
"""
import ssl
import sys
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

url, ca, *identity = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
if identity:
    context.load_cert_chain(*identity)
with urllib.request.urlopen(url, context=context) as reply:
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4"), reply.headers["Content-Type"]
    text = reply.read().decode()
names = set()
for family in text_string_to_metric_families(text):
    assert family.documentation and family.type in ("counter", "gauge"), family
    assert family.name not in names, family.name
    names.add(family.name)
    for sample in family.samples:
        labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
        print(f"{sample.name}{{{labels}}} {sample.value:.0f}")
