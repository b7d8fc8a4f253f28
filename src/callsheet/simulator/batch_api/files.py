"""The files endpoints: the inputs and outputs of OpenAI's batches."""

from email.parser import BytesParser
from email.policy import HTTP
from typing import cast

import attrs

from ..body import RequestRefused
from ..chance import hex_of
from ..middleware import Instant
from ..settings import ProviderSettings
from ..stats import RunningStats
from ..wire import Json, page_of
from .context import BatchRequestContext, JsonReply


@attrs.frozen
class FormFile:
    """A file in a form.

    Args:
        name: the file name that the client sent.
        data: the bytes of the file.
    """

    name: str
    data: bytes = attrs.field(repr=False)


def read_form(content_type: str, body: bytes) -> tuple[dict[str, str], dict[str, FormFile]]:
    """Return the texts and the files of a form, by name.

    Raises:
        RequestRefused: 400, the body is not a form.
    """
    head = f"content-type: {content_type}\r\n\r\n".encode("latin-1")
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    if message.get_content_type() != "multipart/form-data" or not message.is_multipart():
        raise RequestRefused(400, "Expected a body of multipart/form-data.")
    texts: dict[str, str] = {}
    files: dict[str, FormFile] = {}
    for part in message.iter_parts():
        name = str(part.get_param("name", "", header="content-disposition"))
        data = cast("bytes", part.get_payload(decode=True) or b"")
        filename = part.get_filename()
        if filename is None:
            texts[name] = data.decode("utf-8", "replace")
        else:
            files[name] = FormFile(filename, data)
    return texts, files


DAY_S = 86_400
MAX_BYTES = 512 * 1024 * 1024
MAX_LISTED = 10_000
BATCH_DAYS = 30
MIN_LIFE_S = 3600
_PURPOSES = ("batch", "batch-api", "assistants", "fine-tune", "vision", "user_data", "evals")
_LINES = {"content-type": "application/octet-stream"}


@attrs.frozen(eq=False)
class StoredFile:
    """A stored file.

    Args:
        id: the id of the file.
        purpose: "batch" for the input of a batch, "batch_output" for its output.
        filename: the name that the client gave.
        data: the bytes of the file.
        created: the time of its creation, in seconds since 1970.
        expires: the time of its expiry, in seconds since 1970.
    """

    id: str
    purpose: str
    filename: str
    data: bytes = attrs.field(repr=False)
    created: int
    expires: int | None

    def as_json(self) -> dict[str, Json]:
        """Return the JSON object of the file."""
        return {
            "object": "file",
            "id": self.id,
            "purpose": self.purpose,
            "filename": self.filename,
            "bytes": len(self.data),
            "created_at": self.created,
            "expires_at": self.expires,
            "status": "processed",
            "status_details": None,
        }


class Files:
    """The stored files.

    Args:
        settings: the provider's settings.
        stats: the counts of the provider.
    """

    def __init__(self, settings: ProviderSettings, stats: RunningStats) -> None:
        self._settings = settings
        self._stats = stats
        self._files: dict[str, StoredFile] = {}
        self._uploads = 0

    def find(self, file_id: str, at: Instant) -> StoredFile:
        """Return a file.

        Raises:
            RequestRefused: 404, there is no file with this id, or it has expired.
        """
        found = self._files.get(file_id)
        if found is None or (found.expires is not None and found.expires <= at.date):
            raise RequestRefused(404, f"No such File object: {file_id}", param="id")
        return found

    def put(
        self,
        key: object,
        name: str,
        data: bytes,
        *,
        created: float,
        life_s: int | None,
        purpose: str,
    ) -> StoredFile:
        """Store a file.

        Args:
            key: determines its id.
            name: the name that the client gave.
            data: the bytes of the file.
            created: the time of its creation, in seconds since 1970.
            life_s: seconds until it expires; None for never.
            purpose: "batch" or "batch_output", see `StoredFile`.
        """
        file_id = f"file-{hex_of('file', self._settings.seed, key, length=24)}"
        expires = None if life_s is None else int(created) + life_s
        found = StoredFile(file_id, purpose, name, data, int(created), expires)
        self._files[file_id] = found
        return found

    def upload(self, context: BatchRequestContext) -> JsonReply:
        """Upload a file: POST /v1/files."""
        exchange = context.exchange
        texts, files = read_form(exchange.headers.get("content-type", ""), exchange.body)
        for name, known in (("purpose", texts), ("file", files)):
            if name not in known:
                raise RequestRefused(
                    400,
                    f"Missing required parameter: '{name}'.",
                    param=name,
                    code="missing_required_parameter",
                )
        purpose, file = texts["purpose"], files["file"]
        if purpose not in _PURPOSES:
            raise RequestRefused.unsupported("purpose", purpose, _PURPOSES)
        if len(file.data) > MAX_BYTES:
            raise RequestRefused(413, f"File is too large: the maximum is {MAX_BYTES} bytes.")
        life_s = BATCH_DAYS * DAY_S if purpose in ("batch", "batch-api") else None
        asked = texts.get("expires_after[seconds]")
        if asked is not None:
            if not asked.isdecimal() or not MIN_LIFE_S <= int(asked) <= BATCH_DAYS * DAY_S:
                raise RequestRefused(
                    400,
                    f"Invalid 'expires_after[seconds]': expected {MIN_LIFE_S} to "
                    f"{BATCH_DAYS * DAY_S}, but got {asked[:20]} instead.",
                    param="expires_after[seconds]",
                )
            life_s = int(asked)
        self._uploads += 1
        self._stats.files += 1
        found = self.put(
            self._uploads,
            file.name,
            file.data,
            created=context.at.date,
            life_s=life_s,
            purpose=purpose,
        )
        return JsonReply.of(found.as_json())

    def show(self, file_id: str, context: BatchRequestContext) -> JsonReply:
        """Show a file: GET /v1/files/{id}."""
        return JsonReply.of(self.find(file_id, context.at).as_json())

    def content(self, file_id: str, context: BatchRequestContext) -> JsonReply:
        """Return the content of a file: GET /v1/files/{id}/content."""
        return JsonReply(self.find(file_id, context.at).data, _LINES)

    def listed(self, context: BatchRequestContext) -> JsonReply:
        """List files: GET /v1/files."""
        query = context.exchange.query
        purpose, after = query.get("purpose"), query.get("after")
        found = [
            file
            for file in self._files.values()
            if purpose in (None, file.purpose)
            and (file.expires is None or file.expires > context.at.date)
        ]
        if query.get("order", "desc") == "desc":
            found.reverse()
        mark = None if after is None else self.find(after, context.at)
        if mark is not None and mark not in found:
            found.insert(0, mark)
        page = page_of(found, context.limit(MAX_LISTED, MAX_LISTED), after=mark)
        shown = page.as_json(lambda file: file.id, lambda file: file.as_json())
        return JsonReply.of({"object": "list", **shown})

    def delete(self, file_id: str, context: BatchRequestContext) -> JsonReply:
        """Delete a file: DELETE /v1/files/{id}."""
        self.find(file_id, context.at)
        del self._files[file_id]
        return JsonReply.of({"id": file_id, "object": "file", "deleted": True})
