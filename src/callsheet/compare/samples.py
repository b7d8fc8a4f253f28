"""Sample data for the workloads: product reviews to label, passages to embed, topics of posts."""

import random

INSTRUCTION = """\
You classify product reviews for the team of a shop that wants to see at a glance what customers \
think. Read the review and answer with exactly one word, the label: positive, negative or neutral.

Choose positive when the customer is satisfied on the whole and would buy the product again, even \
if one detail is criticised in passing.
Choose negative when the customer is dissatisfied on the whole, wants the money back, or warns \
others, even if one detail is praised.
Choose neutral when the review only describes the product, when praise and criticism weigh the \
same, or when no opinion can be made out.

Judge what is written about the product itself. Late parcels, friendly couriers and torn \
wrapping do not count. Irony counts as what it means and not as what it says. A star rating in \
the text outweighs everything else. Do not guess what the customer left out. \
Write the label in lower case, without a full stop, without quotation marks and without an \
explanation before or after it.
"""

_PRODUCTS = (
    "kettle", "desk lamp", "rain jacket", "office chair", "bike light", "coffee grinder",
    "backpack", "yoga mat", "toaster", "phone case", "garden hose", "air fryer", "wool blanket",
    "drill", "water bottle", "keyboard", "pair of headphones", "frying pan", "tent", "alarm clock",
    "vacuum cleaner", "suitcase", "bread knife", "monitor stand", "hiking socks", "door lock",
)  # fmt: skip
_OPENINGS = (
    "Bought this {product} {since}.",
    "A {product} in daily use; it came {since}.",
    "This {product} replaced one that my {person} gave me.",
    "Got the {product} for my {person} {since}.",
    "Ordered the {product} {since} after a long search.",
    "My second {product} from this brand; the first one went to my {person}.",
)
_SINCES = (
    "in January", "in spring", "three weeks ago", "last summer", "on sale", "two months ago",
    "before a trip", "for the new flat", "half a year ago", "as a present", "for the office",
)  # fmt: skip
_PERSONS = ("sister", "father", "neighbour", "flatmate", "partner", "daughter", "colleague")
_SENTENCES = {
    "positive": (
        "It works exactly as described and feels solid in the hand.",
        "Setting it up was easy, and everything fits.",
        "I am impressed by how smooth it still is after daily use.",
        "Comfortable from the first day, and my {person} says the same.",
        "For this price it is a bargain, and I would recommend it to anybody.",
        "The finish is beautiful and nothing rattles.",
        "Excellent quality, reliable even on a busy morning.",
        "Delighted with it: quick, sturdy and well thought out.",
        "The best one I have owned so far.",
        "My {person} loved it at once and ordered another.",
    ),
    "negative": (
        "It broke after the third use, and the replacement was defective too.",
        "The handle feels flimsy and one corner arrived cracked.",
        "Far too loud for a small kitchen, and it leaked on the first day.",
        "I am disappointed, because the old model was better made.",
        "The instructions are misleading and two screws were missing.",
        "Support was rude, and the refund took a month.",
        "It stopped charging within a week and is useless now.",
        "Overpriced for what it is; avoid it.",
        "My {person} tried it once and found it uncomfortable.",
        "A waste of money, I regret the purchase.",
    ),
    "neutral": (
        "It comes in three colours, and the grey one is darker than in the picture.",
        "The box holds the part, a cable and a folded sheet of instructions.",
        "It is about as heavy as the one it replaces.",
        "I use it twice a week, mostly in the evening.",
        "The cable is one metre long, and the plug is of the usual kind.",
        "It does what the label says, no more and no less.",
        "My {person} has the larger size, which stands a little higher.",
        "It stands on the shelf beside the window.",
        "The lid is made of steel and the base of plastic.",
        "I cannot say yet how it will hold up.",
    ),
}
_SHORTEST, _LONGEST = 80, 320  # characters: 20 to 80 tokens of four


def write_reviews(chance: random.Random, *, count: int = 1000, copies: int = 200) -> list[str]:
    """Write product reviews of 20 to 80 tokens (of four characters each).

    Args:
        chance: the random source of the texts and of their order.
        count: the number of reviews.
        copies: the number of them that are exact copies of another review.

    Returns:
        The reviews, shuffled.

    Raises:
        ValueError: `copies` is negative, or not less than `count`.
    """
    if not 0 <= copies < count:
        raise ValueError(f"copies must be from 0 to {count - 1}, got {copies}")
    distinct: dict[str, None] = {}  # an ordered set, so that a seed always gives the same order
    while len(distinct) < count - copies:
        distinct[_review(chance)] = None
    reviews = list(distinct)
    reviews += chance.choices(reviews, k=copies)
    chance.shuffle(reviews)
    return reviews


def _review(chance: random.Random) -> str:
    mood = chance.choice(tuple(_SENTENCES))
    sentences = [chance.choice(_OPENINGS), *chance.sample(_SENTENCES[mood], 5)]
    gaps = {
        "product": chance.choice(_PRODUCTS),
        "since": chance.choice(_SINCES),
        "person": chance.choice(_PERSONS),
    }
    target = chance.randint(_SHORTEST, _LONGEST - 20)
    review = ""
    for sentence in sentences:
        longer = f"{review} {sentence.format(**gaps)}".strip()
        if len(review) >= target or len(longer) > _LONGEST:
            break
        review = longer
    return review


_SHORTEST_PASSAGE, _LONGEST_PASSAGE = 200, 1600  # characters: 50 to 400 tokens of four


def write_passages(chance: random.Random, *, count: int = 10_000) -> list[str]:
    """Write distinct passages of 50 to 400 tokens (of four characters each).

    Args:
        chance: the random source of the texts and of their lengths.
        count: the number of passages.
    """
    sentences = write_reviews(chance, count=500, copies=0)
    passages: dict[str, None] = {}  # an ordered set, so that a seed always gives the same order
    while len(passages) < count:
        passages[_passage(chance, sentences)] = None
    return list(passages)


def _passage(chance: random.Random, sentences: list[str]) -> str:
    target = chance.randint(_SHORTEST_PASSAGE, _LONGEST_PASSAGE)
    text = ""
    while len(text) < target:
        text = f"{text} {chance.choice(sentences)}".strip()
    return text[:target].rstrip()


HEADLINE_TOPICS = (
    "The Rise of Quantum Computing",
    "Sustainable Urban Planning in 2026",
    "Blockchain Beyond Cryptocurrencies",
    "Personalized Medicine: A New Era",
    "The Impact of AI on Remote Work",
    "Future of Space Exploration",
    "Cybersecurity Threats in IoT",
    "Ethical AI Development",
    "Augmented Reality in Education",
    "Next-Gen Battery Technologies",
    "The Gig Economy's Evolution",
    "Renewable Energy Innovations",
)

TOPICS = (
    *HEADLINE_TOPICS,
    "Why Backpressure Matters",
    "What Night Trains Need to Come Back",
    "Reading a Balance Sheet Without Fear",
    "Heat Pumps in Old Houses",
    "How Cities Can Store Rainwater",
    "The Case for Boring Databases",
    "Teaching Statistics With Sports Data",
    "What Makes a Good On-Call Rota",
    "Growing Vegetables on a Balcony",
    "The Economics of Repair Shops",
    "Passwordless Sign-In for Small Teams",
    "How Lighthouses Were Automated",
    "Choosing a First Telescope",
    "Public Libraries as Workshops",
    "Typography for Dashboards",
    "The Second Life of Electric Car Batteries",
    "Running a Book Club That Lasts",
    "What Bees Tell Us About Pesticides",
    "Migrating a Monolith in Small Steps",
    "Sourdough in a Warm Kitchen",
    "How Vaccines Are Kept Cold",
    "Writing Postmortems People Read",
    "The Return of the Cargo Bike",
    "Budgeting on an Irregular Income",
    "Open Data in Local Government",
    "Designing Forms for Older People",
    "Learning a Language After Forty",
    "Sleep and Shift Work",
    "The Hidden Cost of Free Returns",
    "Mapping the Sea Floor",
    "Rust for Embedded Devices",
    "Community Solar Without the Jargon",
    "What Orchestras Know About Teamwork",
    "Preserving Family Photographs",
    "Wildfire Season and Indoor Air",
    "A Field Guide to Feature Flags",
    "Fair Pay for Interns",
    "How Translators Work With Machines",
)
