"""The files endpoints: the inputs and outputs of OpenAI's batches."""

import attrs
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, create_form_parser
from starlette.responses import Response

from ..arrivals import Arrival, Instant
from ..body import RequestRefused
from ..chance import hex_of
from ..settings import ProviderSettings
from ..stats import RunningStats
from ..wire import Json, JsonResponse, page_of

DAY_S = 86_400
MAX_BYTES = 512 * 1024 * 1024
MAX_LISTED = 10_000
BATCH_DAYS = 30
MIN_LIFE_S = 3600
_PURPOSES = ("batch", "batch-api", "assistants", "fine-tune", "vision", "user_data", "evals")
_LINES = "application/octet-stream"


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

    Starlette's `Request.form` would write a large file to disk in a thread, for which Trio's
    virtual clock does not wait.

    Raises:
        RequestRefused: 400, the body is not a form.
    """
    texts: dict[str, str] = {}
    files: dict[str, FormFile] = {}

    def keep_text(field: Field) -> None:
        texts[_text(field.field_name)] = _text(field.value)

    def keep_file(file: File) -> None:
        file.file_object.seek(0)
        files[_text(file.field_name)] = FormFile(_text(file.file_name), file.file_object.read())

    not_a_form = RequestRefused(400, "Expected a body of multipart/form-data.")
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        raise not_a_form
    in_memory = {"MAX_MEMORY_FILE_SIZE": len(body) + 1}
    header = {"Content-Type": content_type.encode("latin-1", "replace")}
    try:
        parser = create_form_parser(header, keep_text, keep_file, in_memory)
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise not_a_form from None
    if not (texts or files):
        raise not_a_form
    return texts, files


def _text(data: bytes | None) -> str:
    return (data or b"").decode("utf-8", "replace")


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

    def upload(self, arrival: Arrival) -> Response:
        """Upload a file: POST /v1/files."""
        texts, files = read_form(arrival.request.headers.get("content-type", ""), arrival.body)
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
            created=arrival.at.date,
            life_s=life_s,
            purpose=purpose,
        )
        return JsonResponse(found.as_json())

    def show(self, arrival: Arrival) -> Response:
        """Show a file: GET /v1/files/{id}."""
        file_id = arrival.request.path_params["id"]
        return JsonResponse(self.find(file_id, arrival.at).as_json())

    def content(self, arrival: Arrival) -> Response:
        """Return the content of a file: GET /v1/files/{id}/content."""
        file_id = arrival.request.path_params["id"]
        return Response(self.find(file_id, arrival.at).data, media_type=_LINES)

    def listed(self, arrival: Arrival) -> Response:
        """List files: GET /v1/files."""
        query = arrival.request.query_params
        purpose, after = query.get("purpose"), query.get("after")
        found = [
            file
            for file in self._files.values()
            if purpose in (None, file.purpose)
            and (file.expires is None or file.expires > arrival.at.date)
        ]
        if query.get("order", "desc") == "desc":
            found.reverse()
        mark = None if after is None else self.find(after, arrival.at)
        if mark is not None and mark not in found:
            found.insert(0, mark)
        page = page_of(found, arrival.limit(MAX_LISTED, MAX_LISTED), after=mark)
        shown = page.as_json(lambda file: file.id, lambda file: file.as_json())
        return JsonResponse({"object": "list", **shown})

    def delete(self, arrival: Arrival) -> Response:
        """Delete a file: DELETE /v1/files/{id}."""
        file_id = arrival.request.path_params["id"]
        self.find(file_id, arrival.at)
        del self._files[file_id]
        return JsonResponse({"id": file_id, "object": "file", "deleted": True})
