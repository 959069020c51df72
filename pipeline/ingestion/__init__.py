"""Delivered files into the lake: every line as delivered, once, with what could not be read."""

from pipeline.ingestion.deliveries import DeliveredFile, IngestionReport, ingest

__all__ = ["DeliveredFile", "IngestionReport", "ingest"]
