"""The night shift: 02:00 in the shop's time zone, for the day that has just ended."""

import dagster as dg

from pipeline.orchestration.jobs import AssetJob


def build_schedules(night: "AssetJob") -> list[dg.ScheduleDefinition]:
    """The nightly schedule; stopped until a person turns it on in the UI."""
    return [
        dg.build_schedule_from_partitioned_job(  # type: ignore[list-item]
            night,
            name="nightly",
            hour_of_day=2,
            minute_of_hour=0,
            description="The night, at 02:00 in the shop's time zone, as of the day before.",
        )
    ]
