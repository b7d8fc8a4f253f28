"""Recognise rows of data sets and exports, and say which option makes requests of them."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping

from ...actors import Json
from .settings import option_text, place_of

_NUMBER = re.compile(r"[-+0-9.,:/%eE ]+")
_CHAT_TEXT = re.compile(r'\s*(\{\s*"messages":\s*)?\[\s*\{.*"role"', re.DOTALL)
_USUAL_TEXTS = (
    *(
        "prompt",
        "question",
        "query",
        "instruction",
        "text",
        "content",
        "review",
        "comment",
        "sentence",
    ),
    *("message", "body", "description", "document", "article", "title", "input"),
)
_LANGFUSE = {
    *("expectedOutput", "expected_output", "datasetId", "datasetName", "dataset_id"),
    *("traceId", "trace_id", "projectId", "project_id", "observations", "sourceTraceId"),
}
_DATA = {
    *("output", "outputs", "response", "responses", "completion", "answer", "answers", "label"),
    *("labels", "instruction", "conversations", "conversation", "chosen", "rejected", "prompt_id"),
    *("source", "split", "dataset", "category", "score", "target", "expectedOutput"),
}
_EMBEDDING = {
    *("model", "input", "dimensions", "encoding_format", "user", "input_type", "truncate"),
    *("truncation", "output_dimension", "output_dtype", "task", "task_type", "late_chunking"),
    *("normalized", "embedding_type", "provider", "priority", "metadata", "custom_id", "id"),
}


def is_data(record: Mapping[str, Json]) -> bool:
    """Return whether a record without a `body` is a row of data rather than a request.

    Embeddings have few members, so any other makes a row with an `input` one of data. A chat and a
    completion may have members that are not known here, but none that are named as data sets are.

    Args:
        record: a JSON object with `messages`, `input` or `prompt`.
    """
    if "messages" not in record and "input" in record:
        return not record.keys() <= _EMBEDDING
    return not _DATA.isdisjoint(record) or {"messages", "prompt"} <= record.keys()


def advice_for(record: Mapping[str, Json]) -> str:
    """Say what a row is, if it is of a kind that is known, and which option reads it.

    Args:
        record: the values by the names of their columns; None where only the name is known.
    """
    found = _known(record)
    if found is not None:
        return found
    for name, value in record.items():
        if is_conversation(value):
            return f"the column {name!r} is a chat; --map messages={_quoted(name)} sends it"
    best = likely_text(record)
    if best is None:
        return "set a template, or map the prompt to a column"
    return f"set a template, such as {_template(best)}, or map the prompt to a column"


def with_marks(template: str, columns: Iterable[str]) -> str | None:
    """Return a template whose columns are named as in Jinja2; None if it names none otherwise.

    Other ways are the name alone, `{name}` as in Python, and `$name` as in a shell.

    Args:
        template: a template that uses no column.
        columns: the names of the columns.
    """
    found = template
    for name in filter(None, columns):
        place = f"{{{{ {place_of(name)} }}}}"
        if template.strip() == name:
            return place
        named = re.escape(name)
        ways = rf"\$?\{{\s*{named}\s*\}}|\${named}(?!\w)"
        found = re.sub(ways, place.replace("\\", r"\\"), found)
    return None if found == template else found


def likely_text(record: Mapping[str, Json]) -> str | None:
    """Return the column that most likely has the text of the prompt; None if none may.

    Args:
        record: as for `advice_for`.
    """
    names = [name for name, value in record.items() if name and _may_be_text(value)]
    usual = [name for it in _USUAL_TEXTS for name in names if name.casefold() == it]
    others = [name for name in names if name not in ("id", "custom_id")]
    return (
        usual[0]
        if usual
        else max(others, key=lambda name: len(str(record[name] or "")), default=None)
    )


def _known(record: Mapping[str, Json]) -> str | None:
    for is_kind, advice in _KINDS:
        if is_kind(record):
            return advice(record)
    return None


def _is_result(record: Mapping[str, Json]) -> bool:
    has_id = "custom_id" in record or "key" in record
    return has_id and any(isinstance(record.get(name), dict) for name in ("response", "result"))


def _for_result(_: Mapping[str, Json]) -> str:
    return "it looks like a result of a batch; give the file with its requests"


def _is_sharegpt(record: Mapping[str, Json]) -> bool:
    return "conversations" in record and not is_conversation(record["conversations"])


def _for_sharegpt(record: Mapping[str, Json]) -> str:
    at = 1 if _first(record["conversations"]).get("from") == "system" else 0
    template = f"{{{{ conversations[{at}].value }}}}"
    return f"it looks like ShareGPT; its first question is --template '{template}'"


def _is_alpaca(record: Mapping[str, Json]) -> bool:
    return "instruction" in record and not {"input", "output"}.isdisjoint(record)


def _for_alpaca(record: Mapping[str, Json]) -> str:
    parts = [name for name in ("instruction", "input") if name in record]
    return f"it looks like Alpaca; give {_template(*parts)}"


def _is_langfuse(record: Mapping[str, Json]) -> bool:
    return "input" in record and not _LANGFUSE.isdisjoint(record)


def _for_langfuse(record: Mapping[str, Json]) -> str:
    return f"it looks like an export of Langfuse; give {_langfuse(record['input'])}"


def _is_of_preferences(record: Mapping[str, Json]) -> bool:
    return {"chosen", "rejected", "prompt"} <= record.keys()


def _for_preferences(record: Mapping[str, Json]) -> str:
    name = "messages" if is_conversation(record["prompt"]) else "prompt"
    return f"it looks like a data set of preferences; give --map {name}=prompt"


def _has_chat(record: Mapping[str, Json]) -> bool:
    return "messages" in record


def _for_chat(_: Mapping[str, Json]) -> str:
    return "it looks like a row of a data set; --map messages=messages sends its chat alone"


def _has_prompt(record: Mapping[str, Json]) -> bool:
    return isinstance(record.get("prompt"), str)


def _for_prompt(_: Mapping[str, Json]) -> str:
    return "it looks like a row of a data set; --map prompt=prompt sends its prompt alone"


_Columns = Mapping[str, Json]
_KINDS: tuple[tuple[Callable[[_Columns], bool], Callable[[_Columns], str]], ...] = (
    (_is_result, _for_result),
    (_is_sharegpt, _for_sharegpt),
    (_is_alpaca, _for_alpaca),
    (_is_langfuse, _for_langfuse),
    (_is_of_preferences, _for_preferences),
    (_has_chat, _for_chat),
    (_has_prompt, _for_prompt),
)


def _langfuse(value: Json) -> str:
    if isinstance(value, str) and _CHAT_TEXT.match(value):
        return "--map messages=input"
    if is_conversation(value):
        return "--map messages=input"
    if isinstance(value, dict):
        if is_conversation(value.get("messages")):
            return "--map messages=input"
        for name, inner in value.items():
            if isinstance(inner, str):
                return f"--template '{{{{ input.{name} }}}}'"
        return "--template '{{ input }}'"
    return "--map prompt=input"


def is_conversation(value: Json) -> bool:
    """Return whether a value is a list of messages, by its first one."""
    return "role" in _first(value)


def _first(value: Json) -> Mapping[str, Json]:
    first = value[0] if isinstance(value, list) and value else None
    return first if isinstance(first, dict) else {}


def _may_be_text(value: Json) -> bool:
    return value is None or (isinstance(value, str) and not _NUMBER.fullmatch(value))


def _template(*names: str) -> str:
    """Return the option with a template of columns, as a shell reads it."""
    return option_text("template", " ".join(f"{{{{ {place_of(name)} }}}}" for name in names))


def _quoted(name: str) -> str:
    return name if name.isidentifier() else f"'{name}'"


def columns_said(names: Collection[str]) -> str:
    """List the names of columns for an error text."""
    named = [name for name in names if name]
    return ", ".join(named) if named else "none with a name"
