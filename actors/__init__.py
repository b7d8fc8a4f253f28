"""Actors that run LLM API calls fast, cheaply, and with real cancellation."""

from typing import TYPE_CHECKING

from .lazy import lazy_names

if TYPE_CHECKING:
    from .asking import ResponseStream
    from .batch_api import (
        BatchApiActor,
        BatchApiPolicy,
        BatchApiStatistics,
        GetBatchApiStatistics,
        JournalOwner,
        claim_journal,
        lines_in,
    )
    from .batching import (
        AgreementStatistics,
        BatcherActor,
        Batching,
        BatchingStatistics,
        BatchRecord,
        BatchStrategy,
        CheckPlan,
        CombinedCost,
        GetBatchingStatistics,
        ListStrategy,
        Packing,
    )
    from .cache import (
        CacheActor,
        CachePolicy,
        CacheStatistics,
        CacheStore,
        ClearCache,
        GetCacheStatistics,
        PeekCache,
    )
    from .call_plan import CallPlan, SharedCall
    from .calls import CallContext, Complete, Stream
    from .casting import cast_troupe, cost_bound, open_troupe
    from .chat_members import Role
    from .chat_message import ChatMessage
    from .compose import (
        Compose,
        Post,
        PostComposerActor,
        PostGraph,
        PostStats,
        Recipe,
        RecipeError,
        Step,
        StepCall,
        StepFailed,
        StepResult,
        TemplateError,
        critical_path,
        default_recipe,
        load_recipe,
        names_used,
        render,
    )
    from .errors import (
        AuthenticationFailed,
        BadRequest,
        BatchUnavailable,
        BudgetExceeded,
        CallFailed,
        ConnectionFailed,
        ContentFiltered,
        DeadlineTooShort,
        LedgerUnavailable,
        MalformedResponse,
        ProviderUnavailable,
        QuotaExhausted,
        RateLimited,
        RequestTooLarge,
        SendTimedOut,
        UnreadableEndpoint,
    )
    from .events import (
        CallEvent,
        Destination,
        Observer,
        Stage,
        StageObserver,
        all_of,
        ignore,
        log_call,
        stages_of,
    )
    from .http import LeanTransport, check_environment
    from .identity import sharing_key
    from .inspection import (
        ActorReading,
        Answers,
        BatchesReading,
        BudgetReading,
        CacheReading,
        CallReading,
        EndpointReading,
        ErrorReading,
        InspectedProgram,
        InspectionUnavailable,
        LaneReading,
        LimitReading,
        ModelSpend,
        PauseReading,
        Reading,
        SharingReading,
        SpendReading,
        UnreadableLine,
        read_program,
        read_reading,
        to_line,
    )
    from .json_value import Json, kind_of
    from .ledger import (
        NOTHING,
        Amount,
        Budget,
        CostBound,
        CostStatistics,
        CostTotals,
        GetCosts,
        LedgerActor,
        LedgerPolicy,
        UnwrittenCosts,
        read_sums,
        take_unwritten,
    )
    from .messages import Request, Task
    from .meter import TroupeMeter
    from .permit import Dimension, Permit, Throttled
    from .pool_health import PoolHealth
    from .prompt_cache import (
        CacheForecast,
        GetPromptCacheStatistics,
        PromptCacheActor,
        PromptCachePlan,
        PromptCacheStatistics,
        PromptCaching,
    )
    from .prompt_cache_use import PromptCacheUse
    from .rate_limit import (
        BucketState,
        ChangeLimits,
        Explain,
        Explanation,
        GetLimiterStatistics,
        Lane,
        LimiterSnapshot,
        LimiterStatistics,
        Limits,
        PoolMember,
        Rate,
        RateLimiterActor,
        TokenEstimator,
    )
    from .redaction import redact_secrets
    from .repair import ResultNotValid
    from .request import (
        BreakerPolicy,
        BreakerStatistics,
        GetRequestStatistics,
        HedgePolicy,
        RequestActor,
        RequestStatistics,
        RetryPolicy,
        Target,
        ThrottlePolicy,
    )
    from .responses import Choice, Delta, Response, TokenLogprob, ToolCall, ToolCallDelta, Usage
    from .routing import Quote, Route, RouteChoice, RouterActor, Routing
    from .settings import TroupeSettings
    from .spent import Spent
    from .storage import (
        DamagedFile,
        Database,
        DatabaseFormat,
        FileInUse,
        ForeignFile,
        InThread,
        OtherVersion,
        StorageError,
        StorageFull,
        StorageUnavailable,
        in_worker_thread,
        open_database,
        read_remedy,
        why_not_read,
        why_not_written,
        write_remedy,
    )
    from .tool_loop import (
        ToolCostExceeded,
        ToolRoundsExceeded,
        ToolRun,
        ToolRunStopped,
        ToolRunTimedOut,
    )
    from .tools import Tool, ToolLike, ToolResult
    from .trio_only import trio_block
    from .troupe import Troupe
    from .typed import class_of_schema, result_columns, result_members
    from .vendors import (
        OLD_DAYS,
        VENDORS,
        ApiError,
        BatchLimits,
        BatchWeight,
        DecodedResponse,
        Endpoint,
        Malformed,
        OpenAIChat,
        OpenAIEmbeddings,
        Price,
        PriceBook,
        PriceError,
        TierPrice,
        Timeouts,
        UnsupportedField,
        Vendor,
        WireFormat,
        default_prices,
        dumps,
        loads,
        read_chat,
        read_completion,
        read_embeddings,
        read_moderations,
        read_response,
        vendor_at,
        vendor_named,
    )
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        asking="ResponseStream",
        batch_api=(
            "BatchApiActor BatchApiPolicy BatchApiStatistics GetBatchApiStatistics JournalOwner "
            "claim_journal lines_in"
        ),
        batching=(
            "AgreementStatistics BatcherActor Batching BatchingStatistics BatchRecord "
            "BatchStrategy CheckPlan CombinedCost GetBatchingStatistics ListStrategy Packing"
        ),
        cache=(
            "CacheActor CachePolicy CacheStatistics CacheStore ClearCache GetCacheStatistics "
            "PeekCache"
        ),
        call_plan="CallPlan SharedCall",
        calls="CallContext Complete Stream",
        chat_members="Role",
        casting="cast_troupe cost_bound open_troupe",
        compose=(
            "Compose Post PostComposerActor PostGraph PostStats Recipe RecipeError Step "
            "StepCall StepFailed StepResult TemplateError critical_path default_recipe "
            "load_recipe names_used render"
        ),
        errors=(
            "AuthenticationFailed BadRequest BatchUnavailable BudgetExceeded CallFailed "
            "ConnectionFailed ContentFiltered DeadlineTooShort LedgerUnavailable "
            "MalformedResponse ProviderUnavailable QuotaExhausted RateLimited RequestTooLarge "
            "SendTimedOut UnreadableEndpoint"
        ),
        events=(
            "CallEvent Destination Observer Stage StageObserver all_of ignore log_call stages_of"
        ),
        http="LeanTransport check_environment",
        identity="sharing_key",
        inspection=(
            "ActorReading Answers BatchesReading BudgetReading CacheReading CallReading "
            "EndpointReading ErrorReading InspectedProgram InspectionUnavailable LaneReading "
            "LimitReading ModelSpend PauseReading Reading SharingReading SpendReading "
            "UnreadableLine read_program read_reading to_line"
        ),
        ledger=(
            "NOTHING Amount Budget CostBound CostStatistics CostTotals GetCosts LedgerActor "
            "LedgerPolicy UnwrittenCosts read_sums take_unwritten"
        ),
        json_value="Json kind_of",
        chat_message="ChatMessage",
        messages="Request Task",
        meter="TroupeMeter",
        responses="Choice Delta Response TokenLogprob ToolCall ToolCallDelta Usage",
        tool_loop="ToolCostExceeded ToolRoundsExceeded ToolRun ToolRunStopped ToolRunTimedOut",
        tools="Tool ToolLike ToolResult",
        permit="Dimension Permit Throttled",
        prompt_cache=(
            "CacheForecast GetPromptCacheStatistics PromptCacheActor PromptCachePlan "
            "PromptCacheStatistics "
            "PromptCaching"
        ),
        prompt_cache_use="PromptCacheUse",
        pool_health="PoolHealth",
        rate_limit=(
            "BucketState ChangeLimits Explain Explanation GetLimiterStatistics Lane "
            "LimiterSnapshot LimiterStatistics Limits PoolMember Rate RateLimiterActor "
            "TokenEstimator"
        ),
        redaction="redact_secrets",
        repair="ResultNotValid",
        request=(
            "BreakerPolicy BreakerStatistics GetRequestStatistics HedgePolicy RequestActor "
            "RequestStatistics RetryPolicy Target ThrottlePolicy"
        ),
        routing="Quote Route RouteChoice RouterActor Routing",
        settings="TroupeSettings",
        spent="Spent",
        storage=(
            "DamagedFile Database DatabaseFormat FileInUse ForeignFile InThread OtherVersion "
            "StorageError StorageFull StorageUnavailable in_worker_thread open_database "
            "read_remedy why_not_read why_not_written write_remedy"
        ),
        trio_only="trio_block",
        troupe="Troupe",
        typed="class_of_schema result_columns result_members",
        vendors=(
            "OLD_DAYS VENDORS ApiError BatchLimits BatchWeight DecodedResponse Endpoint Malformed "
            "OpenAIChat OpenAIEmbeddings Price PriceBook PriceError TierPrice Timeouts "
            "UnsupportedField Vendor WireFormat default_prices dumps loads read_chat "
            "read_completion read_embeddings read_moderations read_response vendor_at vendor_named"
        ),
    )

__all__ = [
    "NOTHING",
    "OLD_DAYS",
    "VENDORS",
    "ActorReading",
    "AgreementStatistics",
    "Amount",
    "Answers",
    "ApiError",
    "AuthenticationFailed",
    "BadRequest",
    "BatchApiActor",
    "BatchApiPolicy",
    "BatchApiStatistics",
    "BatchLimits",
    "BatchRecord",
    "BatchStrategy",
    "BatchUnavailable",
    "BatchWeight",
    "BatcherActor",
    "BatchesReading",
    "Batching",
    "BatchingStatistics",
    "BreakerPolicy",
    "BreakerStatistics",
    "BucketState",
    "Budget",
    "BudgetExceeded",
    "BudgetReading",
    "CacheActor",
    "CacheForecast",
    "CachePolicy",
    "CacheReading",
    "CacheStatistics",
    "CacheStore",
    "CallContext",
    "CallEvent",
    "CallFailed",
    "CallPlan",
    "CallReading",
    "ChangeLimits",
    "ChatMessage",
    "CheckPlan",
    "Choice",
    "ClearCache",
    "CombinedCost",
    "Complete",
    "Compose",
    "ConnectionFailed",
    "ContentFiltered",
    "CostBound",
    "CostStatistics",
    "CostTotals",
    "DamagedFile",
    "Database",
    "DatabaseFormat",
    "DeadlineTooShort",
    "DecodedResponse",
    "Delta",
    "Destination",
    "Dimension",
    "Endpoint",
    "EndpointReading",
    "ErrorReading",
    "Explain",
    "Explanation",
    "FileInUse",
    "ForeignFile",
    "GetBatchApiStatistics",
    "GetBatchingStatistics",
    "GetCacheStatistics",
    "GetCosts",
    "GetLimiterStatistics",
    "GetPromptCacheStatistics",
    "GetRequestStatistics",
    "HedgePolicy",
    "InThread",
    "InspectedProgram",
    "InspectionUnavailable",
    "JournalOwner",
    "Json",
    "Lane",
    "LaneReading",
    "LeanTransport",
    "LedgerActor",
    "LedgerPolicy",
    "LedgerUnavailable",
    "LimitReading",
    "LimiterSnapshot",
    "LimiterStatistics",
    "Limits",
    "ListStrategy",
    "Malformed",
    "MalformedResponse",
    "ModelSpend",
    "Observer",
    "OpenAIChat",
    "OpenAIEmbeddings",
    "OtherVersion",
    "Packing",
    "PauseReading",
    "PeekCache",
    "Permit",
    "PoolHealth",
    "PoolMember",
    "Post",
    "PostComposerActor",
    "PostGraph",
    "PostStats",
    "Price",
    "PriceBook",
    "PriceError",
    "PromptCacheActor",
    "PromptCachePlan",
    "PromptCacheStatistics",
    "PromptCacheUse",
    "PromptCaching",
    "ProviderUnavailable",
    "QuotaExhausted",
    "Quote",
    "Rate",
    "RateLimited",
    "RateLimiterActor",
    "Reading",
    "Recipe",
    "RecipeError",
    "Request",
    "RequestActor",
    "RequestStatistics",
    "RequestTooLarge",
    "Response",
    "ResponseStream",
    "ResultNotValid",
    "RetryPolicy",
    "Role",
    "Route",
    "RouteChoice",
    "RouterActor",
    "Routing",
    "SendTimedOut",
    "SharedCall",
    "SharingReading",
    "SpendReading",
    "Spent",
    "Stage",
    "StageObserver",
    "Step",
    "StepCall",
    "StepFailed",
    "StepResult",
    "StorageError",
    "StorageFull",
    "StorageUnavailable",
    "Stream",
    "Target",
    "Task",
    "TemplateError",
    "ThrottlePolicy",
    "Throttled",
    "TierPrice",
    "Timeouts",
    "TokenEstimator",
    "TokenLogprob",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolCostExceeded",
    "ToolLike",
    "ToolResult",
    "ToolRoundsExceeded",
    "ToolRun",
    "ToolRunStopped",
    "ToolRunTimedOut",
    "Troupe",
    "TroupeMeter",
    "TroupeSettings",
    "UnreadableEndpoint",
    "UnreadableLine",
    "UnsupportedField",
    "UnwrittenCosts",
    "Usage",
    "Vendor",
    "WireFormat",
    "all_of",
    "cast_troupe",
    "check_environment",
    "claim_journal",
    "class_of_schema",
    "cost_bound",
    "critical_path",
    "default_prices",
    "default_recipe",
    "dumps",
    "ignore",
    "in_worker_thread",
    "kind_of",
    "lines_in",
    "load_recipe",
    "loads",
    "log_call",
    "names_used",
    "open_database",
    "open_troupe",
    "read_chat",
    "read_completion",
    "read_embeddings",
    "read_moderations",
    "read_program",
    "read_reading",
    "read_remedy",
    "read_response",
    "read_sums",
    "redact_secrets",
    "render",
    "result_columns",
    "result_members",
    "sharing_key",
    "stages_of",
    "take_unwritten",
    "to_line",
    "trio_block",
    "vendor_at",
    "vendor_named",
    "why_not_read",
    "why_not_written",
    "write_remedy",
]
