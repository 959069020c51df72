"""What may count as an order, and what a table must look like: rules per line, suites per table."""

from pipeline.validation.lines import FileQuality, ValidationReport, validate_lines

__all__ = ["FileQuality", "ValidationReport", "validate_lines"]
