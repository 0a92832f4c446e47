"""Contracts: what data must be to cross a boundary."""

from kairos_async.contracts.compile import all_of as all_of
from kairos_async.contracts.compile import compile_contract as compile_contract
from kairos_async.contracts.compile import json_schema_contract as json_schema_contract
from kairos_async.contracts.contract import Contract as Contract
from kairos_async.contracts.contract import CountLLMCall as CountLLMCall
from kairos_async.contracts.contract import JSONSchema as JSONSchema
from kairos_async.contracts.errors import RULES as RULES
from kairos_async.contracts.errors import feedback as feedback
from kairos_async.contracts.judge import JudgeModel as JudgeModel
from kairos_async.contracts.judge import JudgeRequest as JudgeRequest
from kairos_async.contracts.judge import LLMJudge as LLMJudge
from kairos_async.contracts.schema import Schema as Schema
from kairos_async.contracts.schema import ValidationResult as ValidationResult
from kairos_async.contracts.verdicts import Proof as Proof
from kairos_async.contracts.verdicts import Proven as Proven
from kairos_async.contracts.verdicts import Refuted as Refuted
from kairos_async.contracts.verdicts import Unknown as Unknown
