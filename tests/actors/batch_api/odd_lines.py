"""Odd lines of results, by what is odd: functions that make them of the usual line."""

import json


def _response(change):
    def changed(line):
        line["response"] = change(line["response"])
        return line

    return changed


# These have a whole response.
ODD = {
    "no status": _response(lambda one: {"body": one["body"]}),
    "a status of null": _response(lambda one: one | {"status_code": None}),
    "a status of 0": _response(lambda one: one | {"status_code": 0}),
    "a status as a text": _response(lambda one: one | {"status_code": "200"}),
    "a status with a point": _response(lambda one: one | {"status_code": 200.0}),
    "the body alone": _response(lambda one: one["body"]),
    "the body as a text": _response(lambda one: one | {"body": json.dumps(one["body"])}),
    "a status of 201": _response(lambda one: one | {"status_code": 201}),
    "the response as a text": _response(json.dumps),
    "no response around the body": lambda line: (
        {"custom_id": line["custom_id"], "body": line["response"]["body"]}
    ),
    "an error beside it": lambda line: line | {"error": {"code": "x", "message": "y"}},
    "no error": lambda line: {name: line[name] for name in ("custom_id", "response")},
}

_USAGE = {"prompt_tokens": 10, "completion_tokens": 5}

# These have none, but may have been billed.
WITHOUT = {
    "neither response nor error": lambda line: line | {"response": None},
    "an empty response": _response(lambda _: {}),
    "no body": _response(lambda _: {"status_code": None, "request_id": "r"}),
    "a body of null": _response(lambda one: one | {"body": None}),
    "a body that is none": _response(lambda _: {"body": {"id": "x"}}),
    "no custom id": lambda line: line | {"custom_id": None},
    "an error with a usage": _response(
        lambda one: {
            "status_code": 500,
            "body": {"error": {"message": "m"}, "usage": one["body"].get("usage", _USAGE)},
        }
    ),
    "a status of 202 and no body": _response(lambda _: {"status_code": 202, "body": None}),
}


def _result(change):
    def changed(line):
        line["result"] = change(line["result"])
        return line

    return changed


# By the kind of batches.
ODD_OF = {
    "anthropic": {
        "no type": _result(lambda one: {"message": one["message"]}),
        "an unknown type": _result(lambda one: one | {"type": "odd"}),
        "the type of another end": _result(lambda one: one | {"type": "expired"}),
        "the message alone": _result(lambda one: one["message"]),
        "the message beside the result": lambda line: (
            line | {"result": {"type": "odd"}, "message": line["result"]["message"]}
        ),
        "the message as a text": _result(lambda one: one | {"message": json.dumps(one["message"])}),
    },
    "gemini": {
        "an error beside it": lambda line: line | {"error": {"code": 13, "message": "m"}},
        "the response alone": lambda line: {"metadata": line["metadata"]} | line["response"],
        "the response as a text": lambda line: line | {"response": json.dumps(line["response"])},
    },
}
WITHOUT_OF = {
    "anthropic": {
        "an unknown type": _result(lambda _: {"type": "odd"}),
        "no result": _result(lambda _: None),
        "no message": _result(lambda _: {"type": "succeeded"}),
    },
    "gemini": {
        "no response": lambda line: {"metadata": line["metadata"]},
        "an empty response": lambda line: line | {"response": {}},
    },
}
