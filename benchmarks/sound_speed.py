"""Making a second of sound: naive recomputation, cached steps, and a student in one pass.

    python -m benchmarks.sound_speed [--rounds 5] [--steps 200] [--threads 1]
                                     [--device cuda] [--write]

A WaveNet draws samples one after another. Naively each takes a parallel pass over its receptive
field; that is timed for `--steps` samples in all, `--rounds` parts of them, and extrapolated to a
second. With a queue for each layer a sample takes one column of every layer: in C (on a CPU), and
by plain operations, extrapolated from five times as many steps. A student, the inverse
autoregressive flow `iaf` of sounds, makes the whole second in one pass. All of one size take turns
in one process, batch 1, float32, without gradients; medians are given and their quartiles.

Sizes: "published", 30 layers of 64 channels (residual and skip, width 2, 3,070 samples of receptive
field), its student with the published flows of 10, 10, 10 and 30 layers of 64 channels, width 3;
and the presets "small" of both. And WaveGlow, of its published size and of the default one, which
makes a second of 22.05 kHz from its mel spectrogram, with weight norm removed. Weights are as drawn
at the start, but for the last layers, which would be zero: what they are makes no difference to the
time. `--write` keeps the tables in benchmarks/results/sound_speed.md.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn

import diffeo
from benchmarks._conditions import (
    add_device,
    conditions,
    on_gpu,
    result_on,
    said_device,
    tell,
    timed,
    use_device,
)
from diffeo.autoregressive import AutoregressiveDensity
from diffeo.density import Density
from diffeo.draws import Noise
from diffeo.models.waveglow import remove_weight_norm
from diffeo.nets.waveglow import WaveGlowNet
from diffeo.nets.wavenet import WaveNet

RESULTS = Path(__file__).parent / "results" / "sound_speed.md"
RATE = 16_000
PUBLISHED = {"layers": 30, "residual": 64, "skip": 64, "prediction": 0}
STUDENT = {"transforms": 4, "layers": (10, 10, 10, 30), "residual": 64, "width": 3}
SIZES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "published": (PUBLISHED, STUDENT),
    "small": ({"preset": "small"}, {"preset": "small"}),
}
"""Options of the WaveNet and of its student."""
VOCODED_RATE, HOP, MELS = 22_050, 256, 80
VOCODERS: dict[str, dict[str, Any]] = {"published": {"preset": "published"}, "small": {}}
"""Options of WaveGlow."""


class Way(NamedTuple):
    """A way to make sound."""

    name: str
    run: Callable[[], object]
    samples: int
    """How many a run makes."""


def made(name: str, options: dict[str, Any], context: Any = None) -> Density:
    """A model whose last layers are not zero."""
    torch.manual_seed(0)
    model = diffeo.create(name, shape=(1, None), context=context, **options).eval()
    for part in model.modules():
        if isinstance(part, (WaveNet, WaveGlowNet)):
            nn.init.normal_(part.stack.last.weight, std=0.02)  # type: ignore[arg-type]
    return model


def naively(model: AutoregressiveDensity, steps: int) -> Tensor:
    """Samples, each by a pass over the receptive field."""
    net, head = model.net, model.head
    assert isinstance(net, WaveNet)
    window = torch.zeros(1, 1, net.receptive_field + 1)
    drawn = []
    for _ in range(steps):
        params = net(window)[..., -1, :]
        source = Noise((1, 1), params.dtype, params.device, None)
        drawn.append(head.place(params, head.noise(source), 1.0))
        # The last place is that of the sample to come.
        window = torch.cat([window[..., 1:-1], drawn[-1][..., None], window[..., :1]], dim=-1)
    return torch.cat(drawn, dim=-1)


def plainly(model: Density, steps: int) -> Tensor:
    """Samples by cached steps of plain operations."""
    with mock.patch.object(WaveNet, "steps_in_c", False):
        return model.sample(1, event_shape=(1, steps))


def ways(teacher: Density, student: Density, steps: int) -> list[Way]:
    """All of a size; the first is the one that others are compared with."""
    assert isinstance(teacher, AutoregressiveDensity)
    found = [Way("naive", lambda: naively(teacher, steps), steps)]
    if teacher.net.steps_in_c:  # type: ignore[union-attr]
        whole = Way("cached, in C", lambda: teacher.sample(1, event_shape=(1, RATE)), RATE)
        found.append(whole)
    more = 5 * steps
    found.append(Way("cached, plain", lambda: plainly(teacher, more), more))
    found.append(Way("student", lambda: student.sample(1, event_shape=(1, RATE)), RATE))
    return found


def lines(size: str, rounds: int, steps: int) -> list[str]:
    """The lines of the table of one size."""
    teacher, student = (
        made(name, options) for name, options in zip(("wavenet", "iaf"), SIZES[size], strict=True)
    )
    each = ways(teacher, student, -(-steps // rounds))
    taken: dict[str, list[float]] = {way.name: [] for way in each}
    for way in each:
        way.run()  # the first compiles and allocates
    for _ in range(rounds):
        for way in each:
            taken[way.name].append(timed(way.run) / way.samples * RATE)
    naive = statistics.median(taken["naive"])
    counts = {"naive": teacher, "student": student}
    found = []
    for way in each:
        median = statistics.median(taken[way.name])
        low, _, high = statistics.quantiles(taken[way.name], n=4)
        weights = sum(p.numel() for p in counts.get(way.name, teacher).parameters())
        found.append(
            f"| {size} | {way.name} | {weights:,} | {median:.3g} ({low:.3g} – {high:.3g}) "
            f"| {RATE / median:,.0f} | {1 / median:.3g} | {naive / median:,.0f} |"
        )
        print(found[-1], file=sys.stderr, flush=True)
    return found


def vocoding(size: str, rounds: int) -> str:
    """The line of WaveGlow of one size."""
    model = made("waveglow", VOCODERS[size], {"mel": (MELS, None)})
    remove_weight_norm(model)
    frames = VOCODED_RATE // HOP
    mel = torch.randn(MELS, frames)
    shape, seconds = (1, frames * HOP), frames * HOP / VOCODED_RATE

    def run() -> None:
        model.sample(1, {"mel": mel}, event_shape=shape)

    run()
    taken = [timed(run) / seconds for _ in range(rounds)]
    low, median, high = statistics.quantiles(taken, n=4)
    weights = sum(p.numel() for p in model.parameters())
    line = (
        f"| {size} | {weights:,} | {median:.3g} ({low:.3g} – {high:.3g}) "
        f"| {VOCODED_RATE / median:,.0f} | {1 / median:.3g} |"
    )
    print(line, file=sys.stderr, flush=True)
    return line


def main() -> None:
    """Measure, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description="Three ways to make a second of sound.")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (5)")
    parser.add_argument(
        "--steps", type=int, default=200, help="naive samples in all, extrapolated (200)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (1)")
    add_device(parser)
    parser.add_argument("--write", action="store_true", help="keep the table")
    arguments = parser.parse_args()
    if arguments.rounds < 2 or arguments.threads < 1 or arguments.steps < 1:
        parser.error("--rounds: at least 2; --steps and --threads: at least 1")
    torch.set_num_threads(arguments.threads)
    use_device(arguments.device)
    with torch.no_grad():
        rows = [line for size in SIZES for line in lines(size, arguments.rounds, arguments.steps)]
        vocoders = [vocoding(size, arguments.rounds) for size in VOCODERS]
    threads = f"{arguments.threads} thread{'s' if arguments.threads > 1 else ''}"
    table = "\n".join(
        [
            "# Making a second of sound",
            "",
            f"1 s of {RATE // 1000} kHz sound, batch 1, float32, without gradients, eager, "
            f"{'on the GPU' if on_gpu() else threads}. Medians of {arguments.rounds} rounds, "
            f"quartiles in brackets; naive samples extrapolated from {arguments.steps} in all, "
            f"plain steps from {5 * arguments.steps}. Naive is a pass over the receptive field for "
            'every sample: 3,070 samples of "published", 1,024 of "small".',
            "",
            "| size | way | parameters | seconds | samples a second | times real time "
            "| times naive |",
            f"| {'--- | ' * 7}".strip(),
            *rows,
            "",
            f"WaveGlow, a second of {VOCODED_RATE / 1000:g} kHz from {MELS} mel bands, hop {HOP}:",
            "",
            "| size | parameters | seconds | samples a second | times real time |",
            f"| {'--- | ' * 5}".strip(),
            *vocoders,
            "",
            f"Made by `python -m benchmarks.sound_speed --rounds {arguments.rounds} --steps "
            f"{arguments.steps} --threads {arguments.threads}{said_device()} --write`.",
            "",
            conditions("diffeo", "torch"),
            "",
        ]
    )
    tell(table, result_on(RESULTS), arguments.write)


if __name__ == "__main__":
    main()
