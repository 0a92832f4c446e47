"""Watching runs: what a service puts into its own logging."""

from kairos_async.observe.processors import bind_run_context as bind_run_context
from kairos_async.observe.processors import redact_processor as redact_processor
