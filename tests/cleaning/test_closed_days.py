"""Closed days ahead, from the days behind."""

from datetime import date, timedelta

from pipeline.cleaning.closed_days import expected_closed

MONDAY = date(2023, 1, 2)


def days(first: date, count: int) -> list[date]:
    return [first + timedelta(days=n) for n in range(count)]


def test_a_weekday_closed_for_eight_weeks_stays_closed() -> None:
    past = days(MONDAY, 7 * 20)
    ahead = days(MONDAY + timedelta(days=140), 14)

    told = expected_closed(past, [day.isoweekday() == 6 for day in past], ahead)

    assert [day for day, closed in zip(ahead, told, strict=True) if closed] == [d for d in ahead if d.isoweekday() == 6]


def test_a_weekday_that_was_open_once_lately_is_open() -> None:
    past = days(MONDAY, 7 * 20)
    closed = [day.isoweekday() == 6 and day != past[-2] for day in past]

    assert not expected_closed(past, closed, days(past[-1] + timedelta(days=1), 14)).any()


def test_the_end_of_a_closure_tells_no_weekday() -> None:
    past = days(MONDAY, 7 * 30)
    closed = [day.isoweekday() == 6 or day >= past[-70] for day in past]
    ahead = days(past[-1] + timedelta(days=1), 7)

    assert expected_closed(past, closed, ahead).tolist() == [False] * 5 + [True, False]


def test_settings_close_days_of_every_year() -> None:
    past = days(MONDAY, 60)

    told = expected_closed(past, [False] * 60, [date(2023, 12, 25), date(2023, 12, 26)], closed_on=("12-25",))

    assert told.tolist() == [True, False]


def test_the_days_around_a_holiday_close_as_last_time() -> None:
    past = days(MONDAY, 600)
    closed = [date(2023, 12, 24) <= day <= date(2024, 1, 2) for day in past]
    ahead = days(past[-1] + timedelta(days=1), 200)

    told = expected_closed(
        past,
        closed,
        ahead,
        holidays={"Christmas Day": [date(2023, 12, 25), date(2024, 12, 25)], "May Day": [date(2024, 5, 1)]},
    )

    assert [day for day, shut in zip(ahead, told, strict=True) if shut] == days(date(2024, 12, 24), 10)


def test_a_moving_holiday_takes_its_closed_week_along() -> None:
    past = days(MONDAY, 365)
    closed = [date(2023, 1, 21) <= day <= date(2023, 1, 27) for day in past]
    ahead = days(past[-1] + timedelta(days=1), 91)

    told = expected_closed(past, closed, ahead, holidays={"Spring Festival": [date(2023, 1, 22), date(2024, 2, 10)]})

    assert [day for day, shut in zip(ahead, told, strict=True) if shut] == days(date(2024, 2, 9), 7)


def test_a_holiday_on_which_the_shop_sold_is_open() -> None:
    past = days(MONDAY, 365)
    ahead = days(past[-1] + timedelta(days=1), 60)

    assert not expected_closed(
        past, [False] * 365, ahead, holidays={"New Year": [date(2023, 1, 2), date(2024, 1, 2)]}
    ).any()


def test_a_closed_weekday_beside_a_holiday_does_not_move_with_it() -> None:
    # 2023-12-25 is a Monday, closed with the Saturday and Sunday before it; in 2024 Christmas is a Wednesday
    past = days(MONDAY, 450)
    closed = [day.isoweekday() in (6, 7) or day == date(2023, 12, 25) for day in past]
    ahead = days(past[-1] + timedelta(days=1), 300)

    told = expected_closed(past, closed, ahead, holidays={"Christmas": [date(2023, 12, 25), date(2024, 12, 25)]})

    week = dict(zip(ahead, told.tolist(), strict=True))
    assert [week[date(2024, 12, 23) + timedelta(days=n)] for n in range(7)] == [
        False,
        False,
        True,
        False,
        False,
        True,
        True,
    ]
