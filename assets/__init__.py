"""The registry is the map: stages in the order of the data flow, one module each, one group each in the UI.

Assets are thin: read, call one pure function of `pipeline/<stage>/`, write, return metadata. Keep data processing out of
these modules. No `from __future__ import annotations` here: Dagster reads the annotations.
"""
