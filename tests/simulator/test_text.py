import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.simulator.text import write_answer
from callsheet.simulator.text.ask import main_phrase, read_ask, subject_of
from callsheet.simulator.text.lexicon import label_of, sentiment_of

TOPICS = (
    "Why backpressure matters",
    "The Rise of Quantum Computing",
    "Personalized Medicine: A New Era",
    "Ethical AI Development",
    "The Gig Economy's Evolution",
)


def answer(prompt, system="", **more):
    return write_answer(system, prompt, seed=0, **more)


@pytest.mark.parametrize(
    ("topic", "subject"),
    [
        ("Why backpressure matters", "backpressure"),
        ("The Rise of Quantum Computing", "quantum computing"),
        ("Sustainable Urban Planning in 2026", "sustainable urban planning"),
        ("Blockchain Beyond Cryptocurrencies", "blockchain"),
        ("Personalized Medicine: A New Era", "personalized medicine"),
        ("Ethical AI Development", "ethical AI development"),
        ("Cybersecurity Threats in IoT", "cybersecurity threats in IoT"),
        ("Next-Gen Battery Technologies", "next-gen battery technologies"),
        ("how to bake sourdough bread", "sourdough bread"),
        ("?", "this subject"),
    ],
)
def test_the_subject_of_a_topic(topic, subject):
    assert subject_of(topic) == subject


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("seed", range(12))
def test_a_headline_of_ours_gives_its_subject_back(topic, seed):
    headline = write_answer("", f'Write a headline for a post about "{topic}".', seed=seed)
    assert "\n" not in headline
    assert '"' not in headline
    assert subject_of(headline) == subject_of(topic)


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ('Write a headline for a blog post about "X".', "headline"),
        ("Suggest one title for a post on X", "headline"),
        ('For a blog post about "the section", write a catchy headline.', "headline"),
        ('List 10 SEO keywords for a blog post about "X", one per line.', "keywords"),
        ('Write an image prompt for the cover picture of a post about "X".', "image"),
        ("Describe an image for the introduction of a post about X", "image"),
        ('Write a social media blurb that announces a post about "X".', "social"),
        ('Write the conclusion of a blog post about "An outline of sections".', "conclusion"),
        ('Write the introduction of a blog post titled "A Headline" about "X".', "introduction"),
        ('Outline 5 sections of a blog post titled "X".', "outline"),
        ('Write an outline of 5 sections.\n\nIntroduction:\nWrite a headline "X".', "outline"),
        ('Write the section "Conclusion" of a post with the headline "X".', "section"),
        ("Write a meta description for a post that begins with the introduction below.", "meta"),
        ("What is an outline?", "general"),
        ("Why is the sky blue?", "general"),
        ('Classify the sentiment of this review: "Great!"', "label"),
    ],
)
def test_the_output_follows_the_instruction(prompt, kind):
    assert read_ask("", prompt).kind == kind


@settings(deadline=None)
@given(st.text(max_size=300), st.text(max_size=50), st.integers(0, 3))
def test_any_prompt_gets_an_answer_that_repeats(user, system, choice):
    said = write_answer(system, user, seed=1, choice=choice)
    assert said.strip()
    assert said == write_answer(system, user, seed=1, choice=choice)


@pytest.mark.parametrize("topic", TOPICS)
def test_every_part_of_a_post_has_its_shape_and_names_its_subject(topic):
    subject = subject_of(topic).lower()
    keywords = answer(f'List 10 SEO keywords for a blog post about "{topic}", one per line.')
    assert len(set(keywords.split("\n"))) == 10
    assert len(answer(f'List seven keywords for "{topic}", comma-separated.').split(", ")) == 7
    outline = answer(f'Write an outline of 5 sections for a post titled "{topic}".').split("\n")
    assert [line.split(". ")[0] for line in outline] == ["1", "2", "3", "4", "5"]
    intro = answer(f'Write the introduction of a blog post about "{topic}".')
    section = answer(f'Write the section "First Steps" of a blog post about "{topic}".')
    assert 2 <= len(section.split("\n\n")) <= 3
    image = answer(f'Write an image prompt for a blog post about "{topic}".')
    social = answer(f'Write a social media blurb about "{topic}".')
    conclusion = answer(f'Write the conclusion of a blog post about "{topic}".')
    meta = answer(
        "Write a meta description for the post that begins with the introduction below.\n"
        f"One line.\n\nIntroduction:\n{intro}"
    )
    assert len(meta) <= 155
    assert "\n" not in meta
    assert len(social) <= 280
    for text in (keywords, outline[0] + intro, section, image, social, conclusion, meta):
        assert subject in text.lower()
        assert "{" not in text


def test_sections_of_one_post_do_not_repeat_each_other():
    texts = [
        answer(
            f'Write the section "Part {i}" of a blog post titled "The Quiet Case for Tea".\n'
            f"It is section {i} of this outline:\n1. Part 1\n2. Part 2\n3. Part 3"
        )
        for i in (1, 2, 3)
    ]
    lines = [line for text in texts for line in text.replace("\n\n", " ").split(". ")]
    assert len(lines) == len(set(lines))


def test_different_topics_get_different_sentences():
    texts = {
        answer(f'Write the conclusion of a post about "{topic}".').replace(subject_of(topic), "")
        for topic in TOPICS
    }
    assert len(texts) == len(TOPICS)


def test_more_items_than_phrases_are_still_complete():
    assert len(set(answer('List 50 keywords about "tea".').split("\n"))) == 50
    assert len(answer('Write an outline of 40 sections about "tea".').split("\n")) == 40


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("seed", range(10))
def test_the_subject_of_an_introduction_is_found_without_quotes(topic, seed):
    prompt = f'Write the introduction of a blog post about "{topic}".'
    assert subject_of(main_phrase(write_answer("", prompt, seed=seed))) == subject_of(topic)


def test_the_main_phrase_is_the_one_that_comes_back():
    text = "Before quantum computing came, we waited. Now quantum computing is here, and we wait."
    assert main_phrase(text) == "quantum computing"
    assert main_phrase("") == ""


@pytest.mark.parametrize(
    ("review", "label"),
    [
        ("Great sound, I love it.", "positive"),
        ("Broke after two days. Terrible.", "negative"),
        ("It is a kettle. It boils water.", "neutral"),
        ("Not good at all.", "negative"),
        ("I didn't regret it, great value.", "positive"),
    ],
)
def test_a_review_is_labelled_by_its_words(review, label):
    assert sentiment_of(review) == label
    system = "Classify the product review as positive, negative or neutral. Answer in one word."
    assert answer(review, system) == label
    assert answer(f"Classify the sentiment as positive, negative or neutral.\n\n{review}") == label


def test_a_review_that_sounds_like_an_instruction_is_still_labelled():
    system = "You label reviews: positive, negative or neutral."
    assert answer("Write a headline? I hate it.", system) == "negative"


def test_other_labels_are_chosen_from_the_list_that_is_given():
    system = "Classify the ticket into one of: billing, shipping, returns."
    said = {answer(f"Ticket number {i}", system) for i in range(40)}
    assert said == {"billing", "shipping", "returns"}
    assert label_of("x", ("positive", "negative")) == "positive"


SCHEMAS = st.recursive(
    st.one_of(
        st.just({"type": "string"}),
        st.builds(lambda n: {"type": "string", "maxLength": n}, st.integers(0, 30)),
        st.builds(lambda a, b: {"type": "integer", "minimum": a, "maximum": a + b},
                  st.integers(-99, 99), st.integers(0, 9)),
        st.just({"type": "number"}),
        st.just({"type": "boolean"}),
        st.just({"type": "null"}),
        st.just({"type": ["string", "null"]}),
        st.builds(lambda options: {"enum": options}, st.lists(st.text(), min_size=1, max_size=4)),
    ),
    lambda inner: st.one_of(
        st.builds(lambda s, n: {"type": "array", "items": s, "minItems": n},
                  inner, st.integers(0, 4)),
        st.builds(lambda p: {"type": "object", "properties": p, "required": sorted(p)},
                  st.dictionaries(st.text("abc", min_size=1), inner, max_size=3)),
        st.builds(lambda s: {"anyOf": [{"type": "null"}, s]}, inner),
    ),
    max_leaves=8,
)  # fmt: skip


def fits(value, schema):  # noqa: PLR0911 - a type a line
    if "enum" in schema:
        return value in schema["enum"]
    if "anyOf" in schema:
        return any(fits(value, choice) for choice in schema["anyOf"])
    match schema["type"]:
        case "string" | ["string", "null"]:
            return isinstance(value, str) and len(value) <= schema.get("maxLength", 10**6)
        case "integer":
            return schema["minimum"] <= value <= schema["maximum"]
        case "number":
            return isinstance(value, float)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "array":
            items = schema["items"]
            return len(value) >= schema["minItems"] and all(fits(item, items) for item in value)
        case "object":
            parts = schema["properties"]
            return set(value) == set(parts) and all(fits(value[k], parts[k]) for k in parts)


@settings(deadline=None)
@given(SCHEMAS)
def test_structured_answers_fit_their_schema(schema):
    assert fits(json.loads(answer("Describe tea.", schema=schema)), schema)


def test_a_schema_that_contains_itself_ends():
    schema = {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["name", "next", "children"],
            }
        },
        "$ref": "#/$defs/node",
    }
    said = answer("Describe tea.", schema=schema)
    assert json.loads(said)["children"][0]["name"]
    assert len(said) < 1_000_000
