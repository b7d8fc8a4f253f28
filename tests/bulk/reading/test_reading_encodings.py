"""Texts in the encodings of spreadsheets and databases are read as what was written."""
# ruff: noqa: RUF001  # letters of other scripts are what is tested

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.bulk.reading.errors import InputError
from callsheet.bulk.reading.opening import count_rows, open_rows
from callsheet.bulk.reading.settings import ReadSettings
from callsheet.bulk.reading.text import encoding_of, recoded

TEXTS = [
    ("cp1252", "Le service était très bien, mais la chambre n'était pas prête. Ça va, déjà vu."),
    ("cp1252", "Die Lieferung war schnell, aber die Größe passt nicht. Ärger mit dem Händler."),
    ("cp1252", "El niño comió mucho. ¿Qué pasó? ¡Muy mal!"),
    ("cp1252", "I don’t like it — it’s “bad”."),
    ("cp1252", "It costs 5 € each."),
    ("mac_roman", "Le service était très bien, mais la chambre n'était pas prête. Ça va."),
    ("cp1250", "Bardzo dobry produkt, szybka wysyłka. Żółta łódź, świetna jakość."),
    ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy."),
    ("cp1251", "Отличный товар, быстрая доставка. Рекомендую всем!"),
    ("koi8_r", "Отличный товар, быстрая доставка. Рекомендую всем!"),
    ("cp1253", "Πολύ καλό προϊόν, γρήγορη παράδοση."),
    ("cp1254", "Ürün çok güzel, hızlı kargo. Teşekkürler, şık ve ığdır."),
    ("cp932", "とても良い商品です。配送も早かったです。"),
    ("euc_jp", "とても良い商品です。配送も早かったです。"),
    ("gb18030", "非常好的产品，快递很快，推荐购买。质量不错，下次还会再来。"),
    ("big5", "非常好的產品，快遞很快，推薦購買。"),
    ("cp949", "아주 좋은 제품입니다. 배송도 빨라요."),
    ("cp1256", "منتج ممتاز وسريع التوصيل"),
]


def prompts(source, **settings):
    with open_rows(source, ReadSettings(**{"model": "m"} | settings)) as rows:
        return [row.request.messages[0].content for row in rows]


@pytest.mark.parametrize(("encoding", "text"), TEXTS)
def test_a_text_is_read_as_it_was_written(tmp_path, encoding, text):
    path = tmp_path / "reviews.csv"
    path.write_bytes(f'prompt,n\n"{text}",1\nplain,2\n'.encode(encoding))
    remarks = []
    with open_rows(path, ReadSettings(model="m"), remarks.append) as rows:
        assert [row.request.messages[0].content for row in rows] == [text, "plain"]
    (remark,) = remarks
    assert "is read as" in remark
    assert remark.endswith("--encoding sets another.")


def test_an_encoding_that_is_set_is_not_guessed(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_bytes("prompt\nשלום\n".encode("cp1255"))
    remarks = []
    with open_rows(path, ReadSettings(model="m", encoding="cp1255"), remarks.append) as rows:
        assert [row.request.messages[0].content for row in rows] == ["שלום"]
    assert not remarks


def test_what_the_encoding_lacks_is_a_bad_row(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_bytes(b"prompt\na\x81b\nd\xe9j\xe0\n")
    with open_rows(path, ReadSettings(model="m", encoding="cp1252")) as rows:
        bad, row = rows
    assert bad.reason == "byte 2 of the line is not of the encoding of the input (line 2)"
    assert row.request.messages[0].content == "déjà"


def test_a_few_bad_bytes_are_damage_and_not_another_encoding(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_bytes(b"prompt\n" + "déjà\n".encode() * 5 + b"d\xe9j\xe0\n")
    with open_rows(path, ReadSettings(model="m")) as rows:
        *good, bad = rows
    assert len(good) == 5
    assert "is not UTF-8" in bad.reason


def test_the_first_letter_beyond_ascii_may_come_late(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_bytes(b"prompt\n" + (b"plain " * 1000 + b"\n") * 500 + "déjà\n".encode("cp1252"))
    assert prompts(path)[-1] == "déjà"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_what_windows_calls_unicode_is_read(tmp_path, encoding):
    path = tmp_path / "reviews.txt"
    path.write_bytes("prompt\tn\r\ndéjà\t1\r\n€\t2\r\n".encode(encoding))
    assert prompts(path) == ["déjà", "€"]
    assert count_rows(path) == 2


def test_an_order_of_bytes_need_not_be_stated(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_bytes("prompt\n\u20ac\n".encode("utf-16-le"))
    assert prompts(path, encoding="UTF-16") == ["\u20ac"]


def test_lines_that_end_in_a_carriage_return_alone_are_lines(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_bytes("prompt,n\rdéjà,1\r€,2\r".encode("mac_roman"))
    assert prompts(path, encoding="mac-roman") == ["déjà", "€"]
    assert count_rows(path) == 2


def test_a_pipe_is_judged_by_what_it_has_first(monkeypatch):
    content = io.BytesIO("prompt\ndéjà vu\n".encode("cp1252"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content))
    assert prompts("-") == ["déjà vu"]


@pytest.mark.parametrize("name", ["nope", "", "base64", "a\0b"])
def test_an_unknown_encoding_is_refused(name):
    with pytest.raises(ValueError, match="encoding must be the name of one, such as windows-1252"):
        ReadSettings(encoding=name)


@given(st.text(), st.integers(1, 50))
def test_utf_8_is_utf_8_however_it_is_divided(text, size):
    data = b"a" + text.encode(errors="replace")
    if b"\0" in data[:4]:
        return
    assert encoding_of(data, [data[at : at + size] for at in range(0, len(data), size)]) == "utf-8"


@given(st.binary(), st.sampled_from(["cp1252", "utf-16-le", "utf-32-be", "cp932", "utf-7"]))
def test_no_bytes_make_recoding_fail(data, encoding):
    recoded(io.BytesIO(data), encoding, ends_in_cr=False).read()


def test_the_header_decides_nothing_that_it_does_not_have(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_bytes("Größe\ngroß\n".encode("cp1252"))
    with pytest.raises(InputError, match=r"it has Größe; set a template, such as .*Größe"):
        prompts(path)
