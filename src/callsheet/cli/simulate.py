"""`callsheet simulate`: the built-in provider on a port of this machine."""

import signal
import sys
from functools import partial

import click
import trio

from ..provider import (
    FAULT_KINDS,
    CannotListen,
    Faults,
    Provider,
    ProviderSettings,
    ProviderStats,
    serve,
)

__all__ = ["simulate"]


def _latency(_: click.Context, __: click.Parameter, value: str) -> tuple[float, float]:
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


@click.command(
    epilog="One request's fault: the header x-callsheet-fault, such as 'x-callsheet-fault: 500'. "
    "Counts: GET /callsheet/stats. Count anew: POST /callsheet/reset."
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
@click.option("--tpm", type=click.IntRange(1), help="Tokens a minute, per key and model.")
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
    callback=_latency,
    metavar="LOW-HIGH",
    help="Seconds an answer takes, drawn from seed and prompt.",
)
@click.option(
    "--time-scale",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="Multiplies every latency.",
)
@click.option(
    "--faults",
    default="",
    callback=_faults,
    metavar="FAULT=RATE,...",
    help=f"What goes wrong, and in which share of requests: {', '.join(FAULT_KINDS)}.",
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
    burst: float,
    latency: tuple[float, float],
    time_scale: float,
    faults: Faults,
    seed: int,
    api_key: str | None,
) -> None:
    """Run the built-in OpenAI-compatible provider until Ctrl-C.

    The first line on stdout is its base URL.
    """
    try:
        settings = ProviderSettings(
            seed=seed,
            latency_s=latency,
            time_scale=time_scale,
            rpm=rpm,
            tpm=tpm,
            burst_s=burst,
            api_key=api_key,
            faults=faults,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    provider = Provider(settings)
    refused: list[str] = []
    try:
        trio.run(_run, provider, host, port)
    except* CannotListen as group:
        refused += map(str, group.exceptions)
    if refused:  # raised here, because out of `except*` it would come as a group
        raise click.ClickException(refused[0])
    click.echo(_counts(provider.stats), err=True)


async def _run(provider: Provider, host: str, port: int) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            url = await nursery.start(partial(serve, provider, host=host, port=port))
            click.echo(url)
            sys.stdout.flush()
            key = "the --api-key" if provider.settings.api_key else "anything"
            click.echo(
                f"Point a client at it: OPENAI_BASE_URL={url} OPENAI_API_KEY={key}\n"
                "Ctrl-C stops it.",
                err=True,
            )
            async for _ in signals:
                break
            nursery.cancel_scope.cancel()


def _counts(stats: ProviderStats) -> str:
    return (
        f"{stats.requests} requests: {stats.answered} answered ({stats.rejected} of them 429), "
        f"{stats.cancelled} cancelled, {stats.broken} broken, "
        f"{stats.in_flight} in flight at the end; {stats.input_tokens} tokens in, "
        f"{stats.output_tokens} out; at most {stats.max_in_flight} at once"
    )
