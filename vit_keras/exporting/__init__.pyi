from .record import ExportRecord as ExportRecord
from .result import ExportResult as ExportResult
