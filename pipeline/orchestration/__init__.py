"""Dagster's concepts, one file each: definitions, partitions, jobs, schedules, sensors. No data logic here."""
