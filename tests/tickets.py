"""Made-up tickets for text classifiers: most words of each are anybody's, some another topic's."""

import random

TOPICS = {
    "billing": "invoice charge refund payment card receipt tax price",
    "login": "password account sign token reset locked email session",
    "delivery": "parcel courier late address tracking box damaged driver",
}
SHARES = {"billing": 5, "login": 3, "delivery": 2}
ANYBODYS = (
    "please today again since your the my a it was with help need thanks order week still nobody "
    "answered customer service"
)


def tickets(count: int, seed: int = 4) -> list[tuple[str, str]]:
    """Different texts with their topics: each has two words of its topic and one of another."""
    draw, made = random.Random(seed), dict[str, str]()
    while len(made) < count:
        topic = draw.choices(list(SHARES), list(SHARES.values()))[0]
        other = draw.choice([name for name in TOPICS if name != topic])
        words = draw.choices(ANYBODYS.split(), k=9) + draw.choices(TOPICS[topic].split(), k=2)
        words.append(draw.choice(TOPICS[other].split()))
        draw.shuffle(words)
        made.setdefault(" ".join(words), topic)
    return list(made.items())
