"""Parse multipart/form-data with the standard library's mail parser."""

from email.parser import BytesParser
from email.policy import HTTP
from typing import cast

import attrs

from .apierror import RequestRefused


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
