"""Watching runs: logs of runs and their sinks, and what a service puts into its own logging."""

from kairos_async.observe.configure import configure_logging as configure_logging
from kairos_async.observe.file_sinks import FileSink as FileSink
from kairos_async.observe.file_sinks import JSONLinesSink as JSONLinesSink
from kairos_async.observe.levels import LogLevel as LogLevel
from kairos_async.observe.logged import SinkError as SinkError
from kairos_async.observe.logger import RunLogger as RunLogger
from kairos_async.observe.processors import LogContext as LogContext
from kairos_async.observe.processors import add_step_context as add_step_context
from kairos_async.observe.processors import bind_run_context as bind_run_context
from kairos_async.observe.processors import redact_processor as redact_processor
from kairos_async.observe.reading import read_log as read_log
from kairos_async.observe.reading import read_logs as read_logs
from kairos_async.observe.runlog import RunLog as RunLog
from kairos_async.observe.runlog import RunSummary as RunSummary
from kairos_async.observe.sinks import CallbackSink as CallbackSink
from kairos_async.observe.sinks import ConsoleSink as ConsoleSink
from kairos_async.observe.sinks import StructlogSink as StructlogSink
from kairos_async.observe.targets import Sink as Sink
