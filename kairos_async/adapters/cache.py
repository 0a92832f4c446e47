"""Answers that are kept: `cached(model, MemoryCache())` asks a model once for the same question.

A question is kept as a keyed hash of all that is sent, never as text. An answer is kept as it is, since it has to be
given out again, but not one in which a secret of the run or a known kind of credential is recognised. Only whole
answers that ended by themselves are kept; one that its step refused is dropped when the step asks again.
"""

from kairos_async.adapters._cached import CachedModel as CachedModel
from kairos_async.adapters._cached import cached as cached
from kairos_async.adapters._stores import MemoryCache as MemoryCache
from kairos_async.adapters._stores import ResponseCache as ResponseCache
from kairos_async.adapters._stores import SQLiteCache as SQLiteCache
