from .record import ExportRecord as ExportRecord
from .record import read_record as read_record
from .result import ExportResult as ExportResult
