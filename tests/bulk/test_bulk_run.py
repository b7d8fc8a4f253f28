"""A run from its rows to its files, on the virtual clock."""

from bulk_rows import ids_of, lines_of, row, stage


async def test_every_row_is_answered_in_the_order_of_the_input(autojump_clock, tmp_path):
    output = tmp_path / "out.jsonl"
    async with stage() as it:
        results = await it.run([row(number) for number in range(1, 51)], output)
    assert [result.number for result in results] == list(range(1, 51))
    assert ids_of(output) == [f"r-{number}" for number in range(1, 51)]
    assert it.requests == 50
    line = lines_of(output)[0]
    assert line["response"]["body"]["choices"][0]["message"]["content"] == results[0].response.text
