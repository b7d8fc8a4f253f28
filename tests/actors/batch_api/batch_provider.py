"""A small Batch API of each kind, as a transport, on Trio's clock.

It records the requests and the lines that it would bill. A test sets the outcome of a line by its
prompt, and the faults of control calls by the kind of call.
"""

import itertools
import json
import re
from email.parser import BytesParser
from email.policy import HTTP

import attrs
import httpx
import trio

URL = "http://provider/v1"
MODEL = "gpt-4o"


@attrs.define(eq=False)
class Made:
    """A batch, as the provider stores it."""

    id: str
    file: str
    tag: str
    lines: list
    at: float
    ends_at: float
    final: str = "completed"
    errors: list = attrs.field(factory=list)
    cancelled_at: float | None = None
    settled: bool = False
    results: list = attrs.field(factory=list)


def answer_text(prompt):
    return f"about {prompt}"


class BatchProvider(httpx.AsyncBaseTransport):
    """Responds to control calls.

    Args:
        kind: the name of the dialect.
        batch_s: the duration of a batch in seconds.
        fates: {prompt: outcome of its line}: "ok", "missing", "twice", "expired", "malformed", or
            an HTTP status.
        fails: final status of the batches, in the order of creation; the last one is repeated.

    Attributes:
        calls: (what, instant) of each control call: "upload", "create", "list", "poll", "cancel",
            "fetch".
        billed: prompts of the lines that were run, in the order of their end.
        hook: awaited before and after each call takes effect, with the kind of call and "before"
            or "after".
        enqueued_limit: the most tokens (here characters) in batches; None for no limit.
    """

    def __init__(self, kind="openai", *, batch_s=100.0, fates=None, finals=("completed",)):
        self.kind = kind
        self.batch_s = batch_s
        self.fates = fates or {}
        self.finals = list(finals)
        self.errors = []
        self.calls = []
        self.requests = []
        self.billed = []
        self.files = {}
        self.batches = []
        self.faults = {}  # {what: [fault of each call]}; "refuse-STATUS", "lose", "drop", "ok"
        self.enqueued_limit = None
        self.extra_lines = []
        self.hidden_s = 0.0  # seconds after the end for which files of results are not named
        self.reports_counts = True
        self.final_word = ""  # the state of a batch that has ended; "" for the usual one
        self.downloads = []  # what each download becomes, in order: functions of its bytes
        self.odd = {}  # {prompt: makes an odd line of the usual one}
        self.retry_after = ""  # header of the responses to polls
        self.names = itertools.count(1)
        self.hook = None
        self.pieces = 7  # bytes of each chunk of results, so that chunks end anywhere in a line

    # ------------------------------------------------------------ HTTP

    async def aclose(self):
        pass

    async def handle_async_request(self, request):
        body = await request.aread()
        path = request.url.path.removeprefix("/v1")
        what = self._what(request.method, path)
        self.calls.append((what, trio.current_time()))
        self.requests.append((what, request, body))
        queue = self.faults.get(what, [])
        fault = queue.pop(0) if queue else "ok"
        await self._tell(what, "before")
        if fault == "drop":
            raise httpx.ConnectError("All connection attempts failed")
        if fault.startswith("refuse"):
            status = int(fault.partition("-")[2])
            key = request.headers.get("authorization")  # the provider quotes the key in its errors
            said = {"error": {"message": f"Not now, {key}.", "type": "x", "code": None}}
            return httpx.Response(status, json=said, request=request)
        await trio.sleep(0.1)
        self._settle()
        response = self._answer(what, path, request, body)
        await self._tell(what, "after")
        if fault == "lose":
            raise httpx.ReadError("connection reset by peer")
        response.request = request
        return response

    async def _tell(self, what, when):
        if self.hook is not None:
            await self.hook(what, when)

    def _what(self, method, path):
        if path.endswith(("/cancel", ":cancel")):
            return "cancel"
        if path.endswith(("/content", "/results")):
            return "fetch"
        if path.startswith("/files"):
            return "upload"
        listed = path in ("/batches", "/messages/batches", "/batch/jobs")
        if method == "POST":
            return "create"
        return "list" if listed else "poll"

    def count(self, what):
        return sum(one == what for one, _ in self.calls)

    def _answer(self, what, path, request, body):  # noqa: PLR0911  # one a call
        if what == "upload":
            name = f"file-{next(self.names)}"
            form = parse_form(request.headers["content-type"], body)
            assert form["purpose"] == ("batch-api" if self.kind == "together" else "batch")
            self.files[name] = form["file"]
            return httpx.Response(200, json={"id": name, "object": "file"})
        if what == "create":
            return self._create(path, body)
        if what == "list":
            return self._list(request.url.params)
        batch_id = re.search(r"(msgbatch|batch)-\w+", path)
        batch = next((one for one in self.batches if batch_id and one.id == batch_id[0]), None)
        if batch is None:
            return httpx.Response(404, json={"error": {"message": "No such batch."}})
        if what == "poll" and self.retry_after:
            headers = {"retry-after": self.retry_after}
            return httpx.Response(200, json=self.shown(batch), headers=headers)
        if what == "cancel":
            if batch.settled:
                return httpx.Response(409, json={"error": {"message": "It is over."}})
            batch.cancelled_at = trio.current_time()
            batch.ends_at = min(batch.ends_at, trio.current_time() + 5.0)
            batch.final = "cancelled"
            if self.kind == "gemini":
                return httpx.Response(200, json={})
        if what == "fetch":
            return self._fetch(batch, path)
        return httpx.Response(200, json=self.shown(batch))

    def _create(self, path, body):
        said = json.loads(body)
        now = trio.current_time()
        name = f"{'msgbatch' if self.kind == 'anthropic' else 'batch'}-{next(self.names)}"
        if self.kind == "anthropic":
            lines = [(one["custom_id"], one["params"]) for one in said["requests"]]
            file, tag = "", ""
        elif self.kind == "gemini":
            assert path == f"/models/{MODEL}:batchGenerateContent"
            found = said["batch"]["inputConfig"]["requests"]["requests"]
            lines = [(one["metadata"]["key"], one["request"]) for one in found]
            file, tag = "", said["batch"]["displayName"]
        elif self.kind == "openrouter":
            assert list(said) == ["endpoint", "model", "requests"]  # the others before the lines
            assert (said["endpoint"], said["model"]) == ("/v1/chat/completions", MODEL)
            lines = [(one["custom_id"], one["body"]) for one in said["requests"]]
            file, tag = "", ""
        else:
            if self.kind == "mistral":
                assert (said["model"], said["timeout_hours"]) == (MODEL, 24)
                said["input_file_id"] = said["input_files"][0]
            file, tag = said["input_file_id"], (said.get("metadata") or {}).get("callsheet", "")
            found = [json.loads(one) for one in self.files[file].splitlines()]
            urls = {said["endpoint"]} if self.kind in ("openai", "groq") else {None}
            assert {one.get("url") for one in found} == urls
            lines = [(one["custom_id"], one["body"]) for one in found]
        assert len({custom_id for custom_id, _ in lines}) == len(lines)
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", custom_id) for custom_id, _ in lines)
        final = self.finals.pop(0) if len(self.finals) > 1 else self.finals[0]
        batch = Made(name, file, tag, lines, now, now + self.batch_s, final, self.errors)
        if self.enqueued_limit is not None:
            others = sum(len(one.lines) for one in self.batches if not one.settled)
            if others + len(lines) > self.enqueued_limit:
                batch.final, batch.ends_at = "failed", now + 2.0
                text = "Enqueued token limit reached for gpt-4o in organization org-1."
                batch.errors = [{"code": "token_limit_exceeded", "message": text, "line": None}]
        self.batches.append(batch)
        shown = self.shown(batch)
        status = 202 if self.kind == "openrouter" else 200
        return httpx.Response(status, json={"job": shown} if self.kind == "together" else shown)

    def _list(self, params):
        newest = [self.shown(one) for one in reversed(self.batches)]
        if self.kind == "together":
            return httpx.Response(200, json=newest)
        if self.kind in ("mistral", "openrouter"):
            return httpx.Response(200, json={"data": newest, "object": "list"})
        if self.kind == "gemini":
            start = int(params.get("pageToken", "0"))
            page = {"operations": newest[start : start + 2]} if newest else {}
            more = {"nextPageToken": str(start + 2)} if len(newest) > start + 2 else {}
            return httpx.Response(200, json=page | more)
        after = params.get("after") or params.get("after_id")
        if after:
            newest = newest[[one["id"] for one in newest].index(after) + 1 :]
        page = newest[: min(int(params["limit"]), 2)]  # two a page, so there are several
        more = len(newest) > len(page)
        return httpx.Response(200, json={"data": page, "has_more": more})

    def _fetch(self, batch, path):
        is_error = "-err" in path
        lines = [
            line for line, is_bad in batch.results if self.kind == "anthropic" or is_bad == is_error
        ]
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        if self.downloads:
            content = self.downloads.pop(0)(content)
        return httpx.Response(200, stream=_ChunkedBody(content, self.pieces))

    # ------------------------------------------------------------ batches

    def shown(self, batch):
        is_over = batch.settled
        if self.kind == "anthropic":
            ended = self.final_word or "ended"
            status = ended if is_over else ("canceling" if batch.cancelled_at else "in_progress")
            counts = {"processing": 0 if is_over else len(batch.lines), "succeeded": 0}
            if is_over:
                counts["succeeded"] = len(batch.lines)
                if batch.final in ("cancelled", "expired"):
                    counts = {"succeeded": 0, "canceled": len(batch.lines)}
            return {
                "id": batch.id,
                "type": "message_batch",
                "processing_status": status,
                "request_counts": counts,
                "results_url": "https://elsewhere/results" if is_over else None,
            }
        final = self.final_word or batch.final
        status = final if is_over else ("cancelling" if batch.cancelled_at else "in_progress")
        is_named = is_over and trio.current_time() >= batch.ends_at + self.hidden_s
        has = {is_bad for _, is_bad in batch.results} if is_named else set()
        results = [line for line, _ in batch.results]
        counts = self._counts(batch)
        if self.kind == "gemini":
            return self._operation(batch, status, counts, results if is_named else None)
        if self.kind == "openrouter":
            shown = {"id": batch.id, "object": "batch", "status": status, "request_counts": counts}
            return shown | ({"results": results} if is_named and status != "failed" else {})
        shown = {
            "id": batch.id,
            "object": "batch",
            "status": status,
            "input_file_id": batch.file,
            "output_file_id": f"file-{batch.id}-out" if False in has else None,
            "error_file_id": f"file-{batch.id}-err" if True in has else None,
        }
        if self.kind == "together":
            return shown | {"status": status.upper(), "progress": 50.0}
        if self.kind == "mistral":
            return self._job(batch, shown, counts)
        errors = {"object": "list", "data": batch.errors} if status == "failed" else None
        return shown | {
            "metadata": {"callsheet": batch.tag},
            "errors": errors,
            "request_counts": counts,
        }

    def _counts(self, batch):
        if not self.reports_counts:
            return None
        bad = sum(is_bad for _, is_bad in batch.results)
        done = len(batch.results) - bad
        return {"total": len(batch.lines), "completed": done, "failed": bad}

    def _operation(self, batch, status, counts, results):
        states = {"in_progress": "RUNNING", "cancelling": "RUNNING", "completed": "SUCCEEDED"}
        about = {
            "state": f"BATCH_STATE_{states.get(status, status.upper())}",
            "displayName": batch.tag,
            "model": f"models/{MODEL}",
        }
        if counts is not None:
            about["batchStats"] = {
                "requestCount": str(counts["total"]),
                "successfulRequestCount": str(counts["completed"]),
                "failedRequestCount": str(counts["failed"]),
            }
        shown = {"name": f"batches/{batch.id}", "metadata": about}
        if status == "failed":
            return shown | {"error": {"code": 3, "message": "No.", "status": "INVALID_ARGUMENT"}}
        if results is None:
            return shown
        inlined = {"inlinedResponses": {"inlinedResponses": results}}
        about["output"] = inlined
        return shown | {"done": True, "response": inlined}

    def _job(self, batch, shown, counts):
        states = {
            "in_progress": "RUNNING",
            "cancelling": "CANCELLATION_REQUESTED",
            "completed": "SUCCESS",
            "expired": "TIMEOUT_EXCEEDED",
        }
        status = shown["status"]
        job = {
            "id": batch.id,
            "object": "batch",
            "status": states.get(status, status.upper()),
            "input_files": [batch.file],
            "output_file": shown["output_file_id"],
            "error_file": shown["error_file_id"],
            "metadata": {"callsheet": batch.tag},
            "errors": [],
        }
        if counts is None:
            return job
        return job | {
            "total_requests": counts["total"],
            "succeeded_requests": counts["completed"],
            "failed_requests": counts["failed"],
        }

    def _settle(self):
        """End the batches that are due."""
        for batch in self.batches:
            if batch.settled or trio.current_time() < batch.ends_at:
                continue
            batch.settled = True
            if batch.final == "failed":
                continue
            done = {"completed": len(batch.lines), "expired": 1, "cancelled": 0}[batch.final]
            for at, (custom_id, body) in reversed(list(enumerate(batch.lines))):  # unordered
                prompt = prompt_of(body)
                fate = self.fates.get(prompt, "ok") if at < done else batch.final
                self._run(batch, custom_id, prompt, fate, body)
            batch.results += [(line, False) for line in self.extra_lines]

    def _run(self, batch, custom_id, prompt, fate, body):
        if fate == "missing":
            return
        if fate in ("ok", "twice", "malformed"):
            self.billed.append(prompt)
            line = self._line(custom_id, 200, {} if fate == "malformed" else self._said(prompt))
            line = self.odd.get(prompt, lambda usual: usual)(line)
            batch.results += [(line, False)] * (2 if fate == "twice" else 1)
        elif isinstance(fate, int):
            error = {"error": {"message": "Sorry.", "type": "x", "code": None}}
            batch.results.append((self._line(custom_id, fate, error), True))
        else:
            batch.results.append((self._unrun(custom_id, fate), True))

    def _said(self, prompt):
        text, usage = answer_text(prompt), (10, 5)
        if self.kind == "gemini":
            content = {"role": "model", "parts": [{"text": text}]}
            return {
                "modelVersion": MODEL,
                "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
                "usageMetadata": {"promptTokenCount": usage[0], "candidatesTokenCount": usage[1]},
            }
        if self.kind == "anthropic":
            return {
                "type": "message",
                "model": MODEL,
                "content": [{"type": "text", "text": text}],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": usage[0], "output_tokens": usage[1]},
            }
        return {
            "model": MODEL,
            "choices": [
                {"index": 0, "message": {"content": text}, "finish_reason": "stop"},
            ],
            "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1]},
        }

    def _line(self, custom_id, status, body):
        if self.kind == "gemini":
            if status == 200:
                return {"metadata": {"key": custom_id}, "response": body}
            code = {400: 3, 429: 8, 500: 13}.get(status, 2)
            error = {"code": code, "message": "Sorry."}
            return {"metadata": {"key": custom_id}, "error": error}
        if self.kind != "anthropic":
            response = {"status_code": status, "request_id": "r", "body": body}
            return {"id": "r", "custom_id": custom_id, "response": response, "error": None}
        if status == 200:
            result = {"type": "succeeded", "message": body}
        else:
            kind = "invalid_request_error" if status == 400 else "api_error"
            error = {"type": "error", "error": {"type": kind, "message": "Sorry."}}
            result = {"type": "errored", "error": error}
        return {"custom_id": custom_id, "result": result}

    def _unrun(self, custom_id, fate):
        if self.kind == "anthropic":
            kind = "canceled" if fate == "cancelled" else "expired"
            return {"custom_id": custom_id, "result": {"type": kind}}
        if self.kind == "gemini":
            error = {"code": 1, "message": "This request was not run."}
            return {"metadata": {"key": custom_id}, "error": error}
        error = {"code": f"batch_{fate}", "message": "This request was not run."}
        return {"id": "r", "custom_id": custom_id, "response": None, "error": error}


class _ChunkedBody(httpx.AsyncByteStream):
    def __init__(self, content, size):
        self._pieces = [content[at : at + size] for at in range(0, len(content), size)]

    async def __aiter__(self):
        for piece in self._pieces:
            yield piece


def prompt_of(body):
    if "input" in body:
        return body["input"][0]
    if "contents" in body:
        return body["contents"][-1]["parts"][0]["text"]
    return body["messages"][-1]["content"]


def parse_form(content_type, body):
    """Return the fields of a form: texts, and the bytes of its file."""
    head = f"content-type: {content_type}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    form = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        form[name] = payload if part.get_filename() else payload.decode()
    return form
