"""Every error the agent knows.

Each has a stable code, a directive (what happens next), and the operator's next step.

AgentError
├── Retry ............ back-off with jitter, for ever
│   ├── SourceUnreachable, SourceUnfit, KafkaUnreachable
│   ├── FrontUnreachable, FrontBusy, FrontFull, FrontUnfit
│   ├── SlotGivenUp (waits for `init`; the publisher goes on)
│   ├── StreamUnreadable (the server cannot pass a place of its log; waits up to 60 s)
│   ├── ClockWrong, SlowLine, HangingTransaction
│   ├── SourceBusy: SlotBusy
│   └── LoginRefused (waits up to 60 s between attempts)
├── Suspend .......... this table alone stops; the others go on
│   ├── TableChanged, RowRefused, ReadRefused, WriteBackRefused, ValueUnreadable
│   ├── TooManyDeletes, RowsMiscounted
│   ├── TableNotCaptured: TableUnpublished, TriggersMissing, TableUnlogged
│   ├── Internal (nobody foresaw it)
│   ├── FrontTableWrong, FrontTableTaken
│   └── TopicLost, TopicTaken, PartitionsChanged
└── Halt ............. the agent exits 78 and systemd leaves it down
    ├── ConfigInvalid, SecretMissing, FileRefused, ListenRefused, CertificateRefused
    ├── NotInitialised, InitRefused
    ├── SlotMissing, SlotLost, SlotAdvanced, TriggerLogMissing, LogLost
    ├── SourceForked, SourceReplaced, SourcePromoted, SourceNotPrimary
    ├── PublicationWrong, ProtocolViolated
    ├── FrontReplaced, FrontDamaged, NewerVersion
    ├── StateLost, StateAhead, StateBehind, DuplicateAgent, TopicMissing, TopicLimit, KafkaRefused
    ├── AnswerMissing, AnswerWrong, SetupRefused (2): of `setup`, which writes nothing then
    ├── ServiceAway (75), RequestRefused (1): of commands that ask the running service
    ├── AlreadyRunning (exits 75: the agent's own service runs)
    └── AnotherAgent (exits 75: another process holds this front end)

The texts never hold row values, keys or secrets: only names of tables and columns, positions,
counts and server addresses.
"""

from agent.errors.halts import (
    AlreadyRunning,
    AnotherAgent,
    AnswerMissing,
    AnswerWrong,
    CertificateRefused,
    ConfigInvalid,
    DuplicateAgent,
    FileRefused,
    FrontDamaged,
    FrontReplaced,
    InitRefused,
    KafkaRefused,
    ListenRefused,
    LogLost,
    NewerVersion,
    NotInitialised,
    ProtocolViolated,
    PublicationWrong,
    RequestRefused,
    SecretMissing,
    ServiceAway,
    SetupRefused,
    SlotAdvanced,
    SlotLost,
    SlotMissing,
    SourceForked,
    SourceNotPrimary,
    SourcePromoted,
    SourceReplaced,
    StateAhead,
    StateBehind,
    StateLost,
    TopicLimit,
    TopicMissing,
    TriggerLogMissing,
)
from agent.errors.kinds import EX_CONFIG, EX_TEMPFAIL, AgentError, Directive, Halt, Retry, Suspend
from agent.errors.retries import (
    ClockWrong,
    FrontBusy,
    FrontFull,
    FrontUnfit,
    FrontUnreachable,
    HangingTransaction,
    KafkaUnreachable,
    LoginRefused,
    SlotBusy,
    SlotGivenUp,
    SlowLine,
    SourceBusy,
    SourceUnfit,
    SourceUnreachable,
    StreamUnreadable,
)
from agent.errors.suspensions import (
    FrontTableTaken,
    FrontTableWrong,
    Internal,
    PartitionsChanged,
    ReadRefused,
    RowRefused,
    RowsMiscounted,
    TableChanged,
    TableNotCaptured,
    TableUnlogged,
    TableUnpublished,
    TooManyDeletes,
    TopicLost,
    TopicTaken,
    TriggersMissing,
    ValueUnreadable,
    WriteBackRefused,
)
from agent.errors.unforeseen import TableWork, unforeseen

__all__ = [
    "EX_CONFIG",
    "EX_TEMPFAIL",
    "AgentError",
    "AlreadyRunning",
    "AnotherAgent",
    "AnswerMissing",
    "AnswerWrong",
    "CertificateRefused",
    "ClockWrong",
    "ConfigInvalid",
    "Directive",
    "DuplicateAgent",
    "FileRefused",
    "FrontBusy",
    "FrontDamaged",
    "FrontFull",
    "FrontReplaced",
    "FrontTableTaken",
    "FrontTableWrong",
    "FrontUnfit",
    "FrontUnreachable",
    "Halt",
    "HangingTransaction",
    "InitRefused",
    "Internal",
    "KafkaRefused",
    "KafkaUnreachable",
    "ListenRefused",
    "LogLost",
    "LoginRefused",
    "NewerVersion",
    "NotInitialised",
    "PartitionsChanged",
    "ProtocolViolated",
    "PublicationWrong",
    "ReadRefused",
    "RequestRefused",
    "Retry",
    "RowRefused",
    "RowsMiscounted",
    "SecretMissing",
    "ServiceAway",
    "SetupRefused",
    "SlotAdvanced",
    "SlotBusy",
    "SlotGivenUp",
    "SlotLost",
    "SlotMissing",
    "SlowLine",
    "SourceBusy",
    "SourceForked",
    "SourceNotPrimary",
    "SourcePromoted",
    "SourceReplaced",
    "SourceUnfit",
    "SourceUnreachable",
    "StateAhead",
    "StateBehind",
    "StateLost",
    "StreamUnreadable",
    "Suspend",
    "TableChanged",
    "TableNotCaptured",
    "TableUnlogged",
    "TableUnpublished",
    "TableWork",
    "TooManyDeletes",
    "TopicLimit",
    "TopicLost",
    "TopicMissing",
    "TopicTaken",
    "TriggerLogMissing",
    "TriggersMissing",
    "ValueUnreadable",
    "WriteBackRefused",
    "stored",
    "unforeseen",
]


def stored(code: str, values: dict[str, object]) -> AgentError:
    """Returns the error that was stored as code and values.

    So it can be written in the reader's language.

    INTERNAL is an error of the whole service, or of the table that its values name.
    """
    kinds: list[type[AgentError]] = [AgentError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    if code == AgentError.code and "resource" not in values:
        return AgentError(**values)
    found = next((kind for kind in kinds if kind.code == code and not kind.__subclasses__()), None)
    return found(**values) if found is not None else AgentError(detail=code)
