"""Makes orders.json: a shop that does not exist.

    python3 make.py

Every run writes the same bytes.
"""

import json
import random
from pathlib import Path

ARTICLES = ["tea", "coffee", "cocoa", "sugar", "milk", "a pot", "two cups"]
CUSTOMERS = ["Ada", "Bertha", "Čapek", "Dürer", "Émilie", "大江"]

chance = random.Random(2026)
orders = [
    {
        "id": number,
        "customer": chance.choice(CUSTOMERS),
        "day": f"2026-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}",
        "lines": [
            {"article": article, "count": chance.randrange(1, 9), "cents": chance.randrange(100, 2000)}
            for article in chance.sample(ARTICLES, chance.randrange(1, 5))
        ],
    }
    for number in range(150)
]
text = json.dumps({"orders": orders}, ensure_ascii=False, separators=(",", ":"))
(Path(__file__).parent / "orders.json").write_text(text + "\n")
