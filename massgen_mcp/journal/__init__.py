"""The journal: the one append-only log of a run, in SQLite or in memory, and what can be read from it."""

from massgen_mcp.journal.export import export_jsonl, read_intact
from massgen_mcp.journal.memory import MemoryJournal
from massgen_mcp.journal.records import (
    DURABLE,
    SCHEMA,
    Entry,
    Journal,
    Kind,
    Noted,
    Owner,
    Record,
    RecordDamaged,
    RunLog,
    RunRow,
    RunState,
)
from massgen_mcp.journal.report import report
from massgen_mcp.journal.sqlite import SqliteJournal, open_journal
from massgen_mcp.journal.summary import (
    RESUMED,
    AgentSummary,
    AnswerSummary,
    RunSummary,
    VoteSummary,
    summarise,
    usage_of,
)

__all__ = [
    "DURABLE",
    "RESUMED",
    "SCHEMA",
    "AgentSummary",
    "AnswerSummary",
    "Entry",
    "Journal",
    "Kind",
    "MemoryJournal",
    "Noted",
    "Owner",
    "Record",
    "RecordDamaged",
    "RunLog",
    "RunRow",
    "RunState",
    "RunSummary",
    "SqliteJournal",
    "VoteSummary",
    "export_jsonl",
    "open_journal",
    "read_intact",
    "report",
    "summarise",
    "usage_of",
]
