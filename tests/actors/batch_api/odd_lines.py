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
    "no error": lambda line: {name: line[name] for name in ("custom_id", "response")},
}

# These have none, but may have been billed.
WITHOUT = {
    "neither response nor error": lambda line: line | {"response": None},
    "an empty response": _response(lambda _: {}),
    "no body": _response(lambda _: {"status_code": None, "request_id": "r"}),
    "a body of null": _response(lambda one: one | {"body": None}),
    "a body that is none": _response(lambda _: {"body": {"id": "x"}}),
    "no custom id": lambda line: line | {"custom_id": None},
}
