"""Models behind one protocol: Anthropic, OpenAI and every server that speaks its format, Gemini, and local ones.

The functions that make actions of prompts are in the modules: `from kairos_async.adapters.claude import claude`.
"""

from kairos_async._types import TokenUsage as TokenUsage
from kairos_async.adapters._connections import connections as connections
from kairos_async.adapters._http import Timeouts as Timeouts
from kairos_async.adapters.model import Message as Message
from kairos_async.adapters.model import ModelAdapter as ModelAdapter
from kairos_async.adapters.model import ModelRequest as ModelRequest
from kairos_async.adapters.model import ModelResponse as ModelResponse
from kairos_async.adapters.model import ModelStream as ModelStream
from kairos_async.adapters.model import StopReason as StopReason
from kairos_async.adapters.model import ToolCall as ToolCall
from kairos_async.adapters.model import partial_json as partial_json
