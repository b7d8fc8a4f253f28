"""`callsheet simulate`: the built-in provider on a port of this machine."""

import signal
import sys
import time
from functools import partial
from typing import Literal

import click
import trio

from ..simulator.app import Provider
from ..simulator.batchsettings import BatchSettings
from ..simulator.faults import FAULT_KINDS, Faults
from ..simulator.server import CannotListen, serve
from ..simulator.settings import HEADERS_ON_429, ProviderSettings
from ..simulator.stats import ProviderStats

__all__ = ["simulate"]


def _seconds(_: click.Context, __: click.Parameter, value: str) -> tuple[float, float]:
    low, _dash, high = value.partition("-")
    try:
        return float(low), float(high or low)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is neither seconds (0.5) nor a range of seconds (1-3)"
        ) from None


def _faults(_: click.Context, __: click.Parameter, value: str) -> Faults:
    try:
        return Faults.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _names(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(filter(None, (name.strip() for name in value.split(","))))


_FAULTS = "\n".join(f"  {kind:<12} {what}" for kind, what in FAULT_KINDS.items())


@click.command(
    epilog="One request's fault: the header x-callsheet-fault, such as 'x-callsheet-fault: 500' "
    "or '429; retry-after=2'. Counts: GET /callsheet/stats. Count anew: POST /callsheet/reset."
    f"\n\n\b\nFaults:\n{_FAULTS}"
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option("--rpm", type=click.IntRange(1), help="Requests a minute, per key and model.")
@click.option("--tpm", type=click.IntRange(1), help="Tokens a minute, on OpenAI's endpoints.")
@click.option("--itpm", type=click.IntRange(1), help="Input tokens a minute, on Anthropic's.")
@click.option("--otpm", type=click.IntRange(1), help="Output tokens a minute, on Anthropic's.")
@click.option(
    "--burst",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds' worth of a limit that may be used at once.",
)
@click.option(
    "--latency",
    default="1-3",
    show_default=True,
    callback=_seconds,
    metavar="LOW-HIGH",
    help="Seconds an answer takes, drawn from seed and prompt.",
)
@click.option(
    "--time-scale",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="Multiplies every latency, and the time of every batch.",
)
@click.option(
    "--batch-time",
    default="60-600",
    show_default=True,
    callback=_seconds,
    metavar="LOW-HIGH",
    help="Seconds a batch takes from its creation to its end.",
)
@click.option(
    "--enqueued-tokens",
    type=click.IntRange(1),
    help="Tokens that the prompts of a model's unfinished batches may have, on OpenAI's endpoints.",
)
@click.option(
    "--flex-refused",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="SHARE",
    help="Share of chats of the tier flex that find no capacity; none by default.",
)
@click.option(
    "--first-piece",
    type=click.FloatRange(0, 1),
    default=ProviderSettings().first_piece,
    metavar="SHARE",
    help="Share of its latency after which a stream's first piece comes; a third by default.",
)
@click.option(
    "--stream-pieces",
    type=click.IntRange(1),
    default=12,
    show_default=True,
    help="Most pieces of a stream.",
)
@click.option(
    "--faults",
    default="",
    callback=_faults,
    metavar="FAULT=RATE,...",
    help="What goes wrong, and in which share of requests; see below.",
)
@click.option(
    "--headers-on-429",
    default="limits,retry-after",
    show_default=True,
    callback=_names,
    metavar="NAME,...",
    help=f"What a 429 has of {', '.join(HEADERS_ON_429)}; '' for none.",
)
@click.option(
    "--token-charge",
    type=click.Choice(["max", "sum"]),
    default="max",
    show_default=True,
    help="What counts against --tpm: the larger of prompt and max_tokens, or both.",
)
@click.option(
    "--default-answer-tokens",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="max_tokens, in that charge, of a chat that does not say.",
)
@click.option(
    "--corrects-charge", is_flag=True, help="Correct that charge to what was used at the end."
)
@click.option(
    "--choice-order",
    type=click.Choice(["prompt", "choice"]),
    default="prompt",
    show_default=True,
    help="What comes first in the indices of n choices of several prompts.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Everything drawn follows from it."
)
@click.option("--api-key", metavar="KEY", help="Refuse every other key. Without it, any will do.")
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
    flex_refused: float,
    first_piece: float,
    stream_pieces: int,
    faults: Faults,
    headers_on_429: tuple[str, ...],
    token_charge: Literal["max", "sum"],
    default_answer_tokens: int,
    corrects_charge: bool,
    choice_order: Literal["prompt", "choice"],
    seed: int,
    api_key: str | None,
) -> None:
    """Run the built-in provider until Ctrl-C: OpenAI's endpoints and Anthropic's messages.

    Both have their batches too.

    The first line on stdout is its base URL.
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
            default_answer_tokens=default_answer_tokens,
            corrects_charge=corrects_charge,
            choice_order=choice_order,
            flex_refused=flex_refused,
            batches=BatchSettings(time_s=batch_time, enqueued_tokens=enqueued_tokens),
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    # Anthropic's limits are told as instants, which a client compares with its own clock.
    provider = Provider(settings, calendar=time.time)
    refused: list[str] = []
    try:
        trio.run(_run, provider, host, port)
    except* CannotListen as group:
        refused += map(str, group.exceptions)
    if refused:  # raised here, because out of `except*` it would come as a group
        raise click.ClickException(refused[0])


async def _run(provider: Provider, host: str, port: int) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            url = await nursery.start(partial(serve, provider, host=host, port=port))
            click.echo(url)
            sys.stdout.flush()
            key = "the --api-key" if provider.settings.api_key else "anything"
            click.echo(
                f"Point a client at it: OPENAI_BASE_URL={url} OPENAI_API_KEY={key}\n"
                f"or ANTHROPIC_BASE_URL={url.removesuffix('/v1')} ANTHROPIC_API_KEY={key}\n"
                "Ctrl-C stops it.",
                err=True,
            )
            async for _ in signals:
                break
            nursery.cancel_scope.cancel()
    click.echo(_counts(provider.stats), err=True)


def _counts(stats: ProviderStats) -> str:
    return (
        f"{stats.requests} requests: {stats.answered} answered ({stats.rejected} of them 429), "
        f"{stats.cancelled} cancelled ({stats.streams_cut} streams cut, "
        f"{stats.abandoned} completed without a client), {stats.broken} broken, "
        f"{stats.in_flight} in flight at the end; {stats.input_tokens} tokens in, "
        f"{stats.output_tokens} out; at most {stats.max_in_flight} at once{_batches(stats)}"
    )


def _batches(stats: ProviderStats) -> str:
    if not stats.batches:
        return ""
    return f"; {stats.batch_lines} lines of {stats.batches} batches done"
