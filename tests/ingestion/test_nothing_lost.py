"""Nothing is lost: whatever a file holds, every line of it is in the lake once, under its own number."""

import random

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

HEADER = "order,item,text,qty,price,time,customer\n"

good = st.sampled_from(
    [
        '{i},A,"two\nlines",1,1,2010-07-01,C',
        '{i},A,"say ""hi""",1,1,2010-07-01,C',
        '{i},A,5" plate,1,1,2010-07-01,C',
        "{i},B, tea ,-3,0,2010-07-01 10:00:00,",
    ]
)
bad = st.sampled_from(
    [
        "{i},A,x,y,z,w,v",
        "{i},A",
        "{i},A,x,1,1,2010-07-01,C,more",
        '{i},A,"bad" mark,1,1,2010-07-01,C',
        '{i},A,"stray,1,1,2010-07-01,C',
        '{i},A,x"y"",1,1,2010-07-01,"',
        "{i},A,\udce9,1,1,2010-07-01,C",
        "",
        ",,,,,,",
    ]
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.one_of(good, good, bad), min_size=1, max_size=12), end=st.sampled_from(["\n", "\r\n"]))
def test_lines_in_are_lines_out(new_home, lines, end):
    # more lines in foreign bytes than in UTF-8 are a wrong encoding, which is refused
    assume(sum("\udce9" in line for line in lines) <= 3)
    home = new_home()
    # a good line first and last: a file of bad lines is refused, and blank lines at the end are none
    written = ["first,A,é,1,1,2010-07-01,C", "second,A,é,1,1,2010-07-01,C", *lines, "last,A,é,1,1,2010-07-01,C"]
    text = end.join(line.format(i=f"O{i}") for i, line in enumerate(written))
    home.drop("orders.csv", (HEADER + text + end).encode("utf-8", errors="surrogateescape"))
    home.ingest()
    report = home.validate()
    numbers = [row[0] for row in home.read("SELECT line FROM raw_order_lines ORDER BY line")]
    assert numbers == list(range(2, len(numbers) + 2))
    ids = {row[0] for row in home.read("SELECT order_id FROM raw_order_lines")}
    assert {"first", "second"} <= ids
    assert all(file.balances for file in report.files)
    if not any("stray" in line or '""' in line or '"' in line for line in lines):
        assert len(numbers) == len(written)
        assert home.read("SELECT max(line) FROM raw_order_lines WHERE order_id = 'last'") == [(len(written) + 1,)]


def test_line_numbers_among_thousands_of_rejects(home):
    rng = random.Random(5)
    lines, expected = [], {}
    for number in range(2, 20_002):
        order = f"O{number}"
        kind = rng.random()
        if kind < 0.05:
            lines.append(f"{order},too,few")
        elif kind < 0.07:
            lines.append(f'{order},A,"bad" mark,1,1,2010-07-01,C')
        else:
            expected[order] = number
            lines.append(f'{order},A,"{number}",1,1,2010-07-01,C')
    home.drop("orders.csv", HEADER + "\n".join(lines) + "\n")
    home.ingest()
    read = dict(home.read("SELECT order_id, line FROM raw_order_lines WHERE order_id IS NOT NULL"))
    assert read == expected
    assert home.read("SELECT count(*), count(DISTINCT line) FROM raw_order_lines") == [(20_000, 20_000)]


def test_a_stray_quotation_mark_costs_one_line(home):
    lines = [f"O{i},A,x,1,1,2010-07-01,C" for i in range(1000)]
    lines[100] = 'O100,A,"x,1,1,2010-07-01,C'
    home.drop("orders.csv", HEADER + "\n".join(lines) + "\n")
    home.ingest()
    report = home.validate()
    assert (report.files[0].accepted, report.files[0].quarantined) == (999, 1)


@pytest.mark.parametrize("seed", range(3))
def test_the_same_files_in_any_number_of_runs(new_home, seed):
    rng = random.Random(seed)
    files = {
        f"orders_{n}.csv": HEADER
        + "".join(
            f"O{rng.randrange(6)},A,x,{rng.randrange(1, 4)},1,2010-07-0{rng.randrange(1, 4)},C\n" for _ in range(12)
        )
        for n in range(3)
    }
    at_once, one_by_one = new_home(), new_home()
    for name, content in files.items():
        at_once.drop(name, content)
        one_by_one.drop(name, content)
        one_by_one.ingest()
    at_once.ingest()
    sql = "SELECT order_id, line_no, version, quantity, is_repeat, line FROM raw_order_lines ORDER BY ALL"
    assert at_once.read(sql) == one_by_one.read(sql)
    key = "SELECT count(*) - count(DISTINCT (order_id, item_id, line_no, version)) FROM raw_order_lines WHERE NOT is_repeat"
    assert at_once.read(key) == [(0,)]
