import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.simulator.batch_api.files import FormFile, read_form
from callsheet.simulator.body import RequestRefused


@given(
    st.binary() | st.text(alphabet='-\r\n\x85\u2028{}":a', max_size=80).map(str.encode),
    st.text(alphabet=st.characters(blacklist_categories=("Cs", "Cc")), max_size=20),
)
def test_a_file_arrives_byte_by_byte(data, text):
    request = httpx.Request(
        "POST", "http://x", data={"purpose": text}, files={"file": ("a.jsonl", data)}
    )
    texts, files = read_form(request.headers["content-type"], request.read())
    assert texts == {"purpose": text}
    assert files == {"file": FormFile("a.jsonl", data)}


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("", b""),
        ("multipart/form-data", b"--x\r\n\r\n--x--"),
        ("multipart/form-data; boundary=x", b""),
    ],
)
def test_what_is_no_form_is_refused(content_type, body):
    with pytest.raises(RequestRefused) as caught:
        read_form(content_type, body)
    assert caught.value.status == 400
