"""`callsheet simulate`: serve the built-in provider on a local port."""

import sys
import time
from functools import partial
from math import inf
from typing import Literal

import click
import trio

from ..simulator.app import Provider
from ..simulator.faults import FAULT_KINDS, Faults
from ..simulator.server import CannotListen, serve
from ..simulator.settings import HEADERS_ON_429, BatchSettings, CacheSettings, ProviderSettings
from ..simulator.stats import ProviderStats
from .parameters import ABOVE_ZERO, FiniteRange, SuggestingChoice
from .sections import SectionedCommand, option
from .signals import open_signals


def _seconds(_: click.Context, __: click.Parameter, value: str) -> tuple[float, float]:
    low, _dash, high = value.partition("-")
    try:
        span = float(low), float(high or low)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is not a number of seconds (0.5) or a range of seconds (1-3)"
        ) from None
    if not 0 <= span[0] <= span[1] < inf:
        raise click.BadParameter(f"{value!r} must be finite, and 0 <= low <= high")
    return span


def _faults(_: click.Context, __: click.Parameter, value: str) -> Faults:
    try:
        return Faults.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _names(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(filter(None, (name.strip() for name in value.split(","))))


_FAULTS = "\n".join(f"  {kind:<12} {what}" for kind, what in FAULT_KINDS.items())


_share = FiniteRange(0, 1)


@click.command(
    cls=SectionedCommand,
    short_help="Serve the built-in provider on a local port.",
    page="docs/simulator.md",
    examples=("simulate --port 8080 --rpm 600 --faults 429=0.05,500=0.02",),
    epilog="The request header x-callsheet-fault selects the fault of one request, such as "
    "'x-callsheet-fault: 500' or '429; retry-after=2'. GET /callsheet/stats returns the counts; "
    "POST /callsheet/reset resets them."
    f"\n\n\b\nFaults:\n{_FAULTS}",
)
@option(
    "--host",
    section="Server",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on.",
)
@option(
    "--port",
    section="Server",
    metavar="N",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="The port to listen on; 0 chooses a free one.",
)
@option(
    "--api-key",
    section="Server",
    metavar="KEY",
    help="The only key to accept. Default: every key.",
)
@option(
    "--seed",
    section="Server",
    metavar="N",
    type=int,
    default=0,
    show_default=True,
    help="The seed of texts, latencies and faults.",
)
@option(
    "--latency",
    section="Time",
    default="1-3",
    show_default=True,
    callback=_seconds,
    metavar="LOW-HIGH",
    help="The seconds that a response takes. Seed and prompt determine the value.",
)
@option(
    "--time-scale",
    section="Time",
    metavar="X",
    type=FiniteRange(0),
    default=1.0,
    show_default=True,
    help="The factor for every latency and for the time of every batch.",
)
@option(
    "--first-piece",
    section="Time",
    metavar="SHARE",
    type=_share,
    default=ProviderSettings().first_piece,
    help="The share of the latency after which a stream sends its first event. Default: a third.",
)
@option(
    "--stream-pieces",
    section="Time",
    metavar="N",
    type=click.IntRange(1),
    default=12,
    show_default=True,
    help="The maximum number of text events of a stream.",
)
@option(
    "--batch-time",
    section="Time",
    default="60-600",
    show_default=True,
    callback=_seconds,
    metavar="LOW-HIGH",
    help="The seconds from the creation of a batch to its end.",
)
@option(
    "--rpm",
    section="Limits",
    metavar="N",
    type=click.IntRange(1),
    help="The maximum number of requests per minute, for each key and model.",
)
@option(
    "--tpm",
    section="Limits",
    metavar="N",
    type=click.IntRange(1),
    help="The maximum number of tokens per minute; OpenAI endpoints.",
)
@option(
    "--itpm",
    section="Limits",
    metavar="N",
    type=click.IntRange(1),
    help="The maximum number of input tokens per minute; Anthropic endpoints.",
)
@option(
    "--otpm",
    section="Limits",
    metavar="N",
    type=click.IntRange(1),
    help="The maximum number of output tokens per minute; Anthropic endpoints.",
)
@option(
    "--burst",
    section="Limits",
    metavar="SECONDS",
    type=ABOVE_ZERO,
    default=60.0,
    show_default=True,
    help="The burst that a limit allows: what it allows in this time can be used at once.",
)
@option(
    "--token-charge",
    section="Limits",
    type=SuggestingChoice(["max", "sum"]),
    default="max",
    show_default=True,
    help="What --tpm charges for a request: the larger of prompt and max_tokens, or their sum.",
)
@option(
    "--default-output-tokens",
    section="Limits",
    metavar="N",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="The max_tokens that --tpm charges for a chat that sets none.",
)
@option(
    "--corrects-charge",
    section="Limits",
    is_flag=True,
    help="Correct that charge to the actual usage when the response ends.",
)
@option(
    "--enqueued-tokens",
    section="Limits",
    metavar="N",
    type=click.IntRange(1),
    help="The maximum number of prompt tokens in the unfinished batches of a model; OpenAI "
    "endpoints.",
)
@option(
    "--cache-rpm",
    section="Limits",
    metavar="N",
    type=click.IntRange(1),
    default=CacheSettings().machine_rpm,
    show_default=True,
    help="The requests per minute with one beginning and prompt_cache_key that share a prompt "
    "cache; OpenAI endpoints.",
)
@option(
    "--cache-readable",
    section="Models",
    type=SuggestingChoice(["begun", "ended"]),
    default="begun",
    show_default=True,
    help="When a prompt cache can be read: when the response that wrote it has begun, or ended.",
)
@option(
    "--models",
    section="Models",
    default="",
    callback=_names,
    metavar="NAME,...",
    help="The only models to accept. Default: every name.",
)
@option(
    "--context-tokens",
    section="Models",
    metavar="N",
    type=click.IntRange(1),
    default=128_000,
    show_default=True,
    help="The maximum number of tokens of a prompt and its response together.",
)
@option(
    "--reasoning-field",
    section="Models",
    metavar="NAME",
    help="The member of a chat's message that has the text of the reasoning, such as "
    "reasoning_content (DeepSeek). Default: none, as OpenAI.",
)
@option(
    "--refuse-max-tokens",
    section="Models",
    is_flag=True,
    help="Refuse max_tokens in chats with OpenAI's models that reason, as OpenAI does.",
)
@option(
    "--accept-unknown",
    section="Models",
    is_flag=True,
    help="Ignore unknown members of a request to OpenAI endpoints, as many compatible servers do.",
)
@option(
    "--faults",
    section="Faults",
    default="",
    callback=_faults,
    metavar="FAULT=RATE,...",
    help="The faults, and the share of requests that gets each of them; listed below.",
)
@option(
    "--headers-on-429",
    section="Faults",
    default="limits,retry-after",
    show_default=True,
    callback=_names,
    metavar="NAME,...",
    help=f"The headers of a 429: {', '.join(HEADERS_ON_429)}; '' for none.",
)
@option(
    "--flex-refused",
    section="Faults",
    metavar="SHARE",
    type=_share,
    default=0.0,
    help="The share of requests of the flex tier that is refused for lack of capacity. Default: 0.",
)
@option(
    "--choice-order",
    type=SuggestingChoice(["prompt", "choice"]),
    default="prompt",
    show_default=True,
    help="What the indices of n choices for several prompts count first.",
)
def simulate(
    *,
    host: str,
    port: int,
    rpm: int | None,
    tpm: int | None,
    itpm: int | None,
    otpm: int | None,
    burst: float,
    latency: tuple[float, float],
    time_scale: float,
    batch_time: tuple[float, float],
    enqueued_tokens: int | None,
    cache_rpm: int,
    cache_readable: Literal["begun", "ended"],
    models: tuple[str, ...],
    context_tokens: int,
    reasoning_field: str | None,
    refuse_max_tokens: bool,
    accept_unknown: bool,
    flex_refused: float,
    first_piece: float,
    stream_pieces: int,
    faults: Faults,
    headers_on_429: tuple[str, ...],
    token_charge: Literal["max", "sum"],
    default_output_tokens: int,
    corrects_charge: bool,
    choice_order: Literal["prompt", "choice"],
    seed: int,
    api_key: str | None,
) -> None:
    """Serve the built-in provider until Ctrl-C, with the APIs of OpenAI, Anthropic and Gemini.

    It has chats, responses, completions, embeddings and batches of OpenAI's API, messages and
    batches of Anthropic's, and generateContent of Gemini's. The first line on stdout is its base
    URL.
    """
    try:
        settings = ProviderSettings(
            seed=seed,
            latency_s=latency,
            time_scale=time_scale,
            first_piece=first_piece,
            stream_pieces=stream_pieces,
            rpm=rpm,
            tpm=tpm,
            itpm=itpm,
            otpm=otpm,
            burst_s=burst,
            api_key=api_key,
            faults=faults,
            headers_on_429=headers_on_429,
            token_charge=token_charge,
            default_output_tokens=default_output_tokens,
            corrects_charge=corrects_charge,
            choice_order=choice_order,
            models=models,
            context_tokens=context_tokens,
            reasoning_field=reasoning_field,
            refuses_max_tokens=refuse_max_tokens,
            refuses_unknown=not accept_unknown,
            flex_refused=flex_refused,
            batches=BatchSettings(time_s=batch_time, enqueued_tokens=enqueued_tokens),
            cache=CacheSettings(readable=cache_readable, machine_rpm=cache_rpm),
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    # Anthropic's headers have limits as instants, which a client compares with its own clock.
    provider = Provider(settings, calendar=time.time)
    refused: list[str] = []
    try:
        trio.run(_run, provider, host, port)
    except* CannotListen as group:
        refused += map(str, group.exceptions)
    if refused:  # raised here, because `except*` would wrap it in a group
        raise click.ClickException(refused[0])


async def _run(provider: Provider, host: str, port: int) -> None:
    stopped = trio.Event()
    async with open_signals(stopped.set), trio.open_nursery() as nursery:
        url = await nursery.start(partial(serve, provider, host=host, port=port))
        click.echo(url)
        sys.stdout.flush()
        key = "the --api-key" if provider.settings.api_key else "any"
        click.echo(
            f"To use it, set OPENAI_BASE_URL={url} OPENAI_API_KEY={key}\n"
            f"or ANTHROPIC_BASE_URL={url.removesuffix('/v1')} ANTHROPIC_API_KEY={key}\n"
            "Press Ctrl-C to stop.",
            err=True,
        )
        await stopped.wait()
        nursery.cancel_scope.cancel()
    click.echo(_counts(provider.stats), err=True)


def _counts(stats: ProviderStats) -> str:
    return (
        f"{stats.requests} requests: {stats.answered} answered ({stats.rejected} of them with "
        f"429), {stats.cancelled} cancelled by the client ({stats.streams_cut} during a stream, "
        f"{stats.abandoned} completed anyway), {stats.broken} broken by a fault, {stats.in_flight} "
        f"in flight at the end; {stats.input_tokens} input tokens, {stats.output_tokens} output "
        f"tokens; at most {stats.max_in_flight} in flight at once{_batches(stats)}"
    )


def _batches(stats: ProviderStats) -> str:
    if not stats.batches:
        return ""
    return f"; {stats.batches} batches with {stats.batch_lines} completed lines"
