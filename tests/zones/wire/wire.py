"""Prints the records of a master file as dnspython has them: owner in lower case, type, TTL and data in hexadecimal.

    python3 tests/zones/wire/wire.py tests/zones/wire/types.zone > tests/zones/wire/types.wire
"""

import os
import sys

import dns.name
import dns.rdatatype
import dns.zone

folder, file = os.path.split(sys.argv[1])
os.chdir(folder or ".")
zone = dns.zone.from_file(file, origin="example.com.", relativize=False, check_origin=False)
lines = [
    f"{str(name).lower()} {rdata.rdtype} {ttl} {rdata.to_wire(origin=dns.name.root).hex()}"
    for name, ttl, rdata in zone.iterate_rdatas()
]
print("\n".join(sorted(lines)))
