"""Redaction, sanitising and gates: pure functions and small tables, without I/O but for resolving paths."""

from kairos_async.security.known import REDACTED as REDACTED
from kairos_async.security.known import KnownSecrets as KnownSecrets
from kairos_async.security.output import csv_cell as csv_cell
from kairos_async.security.output import json_line as json_line
from kairos_async.security.output import terminal_text as terminal_text
from kairos_async.security.paths import path_inside as path_inside
from kairos_async.security.paths import sanitize_path as sanitize_path
from kairos_async.security.redaction import Redactor as Redactor
from kairos_async.security.redaction import redact_sensitive as redact_sensitive
from kairos_async.security.sanitize import nearest_builtin_exception_name as nearest_builtin_exception_name
from kairos_async.security.sanitize import sanitize_exception as sanitize_exception
from kairos_async.security.sanitize import sanitize_retry_context as sanitize_retry_context
from kairos_async.security.templates import Template as Template
from kairos_async.security.untrusted import TextFlag as TextFlag
from kairos_async.security.untrusted import UntrustedText as UntrustedText
from kairos_async.security.untrusted import fenced as fenced
from kairos_async.security.untrusted import gate as gate
from kairos_async.security.untrusted import untrusted as untrusted
from kairos_async.security.untrusted import untrusted_delimiter as untrusted_delimiter
from kairos_async.security.vocabulary import DEFAULT_SENSITIVE_PATTERNS as DEFAULT_SENSITIVE_PATTERNS
