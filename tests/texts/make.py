"""Makes access.log: a day of a web server that does not exist.

    python3 make.py

Every run writes the same bytes. Addresses are of the ranges for documentation (RFC 5737).
"""

import random
from datetime import datetime, timedelta, timezone
from pathlib import Path

PATHS = ["/", "/cart", "/login", "/search?q=tea", "/static/site.css", "/api/orders", "/api/orders/17", "/favicon.ico"]
AGENTS = ["Mozilla/5.0 (X11; Linux x86_64; rv:140.0)", "curl/8.14.1", "a crawler/1.0 (+https://crawler.example)"]
NETS = ["192.0.2", "198.51.100", "203.0.113"]

chance = random.Random(2026)
moment = datetime(2026, 1, 1, tzinfo=timezone.utc)
lines = []
client = "192.0.2.1"
while len(lines) < 700:
    moment += timedelta(seconds=chance.randrange(1, 240))
    # Some clients come twice in a row.
    if chance.random() < 0.8:
        client = f"{chance.choice(NETS)}.{chance.randrange(1, 255)}"
    status = chance.choices([200, 304, 404, 500, 503], [80, 10, 6, 2, 2])[0]
    method = chance.choices(["GET", "POST"], [9, 1])[0]
    stamp = moment.strftime("%d/%b/%Y:%H:%M:%S +0000")
    lines.append(
        f'{client} - - [{stamp}] "{method} {chance.choice(PATHS)} HTTP/1.1" {status} '
        f'{chance.randrange(90, 50_000)} "-" "{chance.choice(AGENTS)}"'
    )
(Path(__file__).parent / "access.log").write_text("\n".join(lines) + "\n")
