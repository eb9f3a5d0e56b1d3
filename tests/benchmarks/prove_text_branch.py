"""Whether the text branch of pre-training puts meaning into codes: the paper's Table 11, in small.

    make prove-text_branch
    python tests/benchmarks/prove_text_branch.py --folder FOLDER --steps 340

Two codecs go on from `xy-nano` with the same seed, clips, steps and other losses, on the shards
that `prove_evaluate.py` learns from; one of them has the text branch as well (CTC on bytes). The
ASR probe learns from the same shards through each codec and is tested on other levels of the game,
as `xy-nano` itself was there. What was done is kept in `--folder`, and the same command goes on.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from pipeline.audit.judge.inference import Interval
from pipeline.audit.sample.sampling import SamplePlan
from pipeline.evaluate.clip_names import name_of, speaker_of
from pipeline.evaluate.evaluation import EvaluateRequest, evaluate
from pipeline.evaluate.intervals import mean_by_speaker
from pipeline.evaluate.page import render_evaluation
from pipeline.evaluate.probe.plan import PRESETS
from pipeline.evaluate.record import as_json
from pipeline.evaluate.system import SOUND, Evaluation, System
from pipeline.worker.codec_request import CodecRequest
from tests.benchmarks.prove_evaluate import difference, words
from tests.support.transcribed_speech import write_transcribed_shards
from xy_codec.training.recipe import Recipe, load_recipe
from xy_codec.training.trainer import Progress, Trainer

SOUND_CLIPS = 24
# A codec of the pair by its `text.kind`.
KINDS = {"none": "without text", "ctc": "with text"}


def recipe_of(kind: str, seed: int, folder: Path, steps: int) -> Recipe:
    """Whole clips where they fit: a clip that is cut has no text."""
    changes = {
        "steps": steps,
        "seed": seed,
        "precision": "bfloat16",
        "evaluate_every": steps,
        "save_every": 25,
        "speech.shards": str(folder / "speech" / "train" / "*.tar"),
        "speech.held_out": "",
        "speech.cache": str(folder / "cache"),
        "speech.crop_seconds": 4.48,
        "speech.crop_shares": [1.0],
        "speech.join": False,
        "speech.batch_clips": 4,
        "speech.balance_speakers": False,
        "speech.pitches": [0.93, 1.0, 1.0, 1.07],
        "optimizer.warmup_steps": 40,
        "text.kind": kind,
    }
    return load_recipe("nano_long_pretrain", changes)


def train(kind: str, seed: int, folder: Path, steps: int) -> str:
    """The folder of a trained codec; one that is there is left as it is."""
    place = folder / f"{kind}-seed{seed}-{steps}"
    done = place / "done.json"
    if not done.exists():
        started = time.process_time()

        def show(progress: Progress) -> None:
            losses = ", ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
            spent = time.process_time() - started
            print(f"{place.name} {progress.step}: {losses}; {spent:.0f} s", file=sys.stderr)

        Trainer(recipe_of(kind, seed, folder, steps), place, show=show).run()
        # Of this process: less than all where the training was resumed.
        done.write_text(json.dumps({"processor_seconds": time.process_time() - started}))
    return str(place / "best")


def sound_difference(own: System, other: System, name: str) -> Interval | None:
    """Of the clips that both have a value of, by speakers."""
    values = {name_of(clip): getattr(clip.scores, name) for clip in other.clips}
    pairs = [(clip, getattr(clip.scores, name), values[name_of(clip)]) for clip in own.clips]
    known = [(clip, mine - theirs) for clip, mine, theirs in pairs if None not in (mine, theirs)]
    if not known:
        return None
    return mean_by_speaker([value for _, value in known], [speaker_of(clip) for clip, _ in known])


def table(systems: Mapping[str, System], names: list[tuple[str, str]]) -> str:
    """What each measured, then each pair clip by clip."""
    figures = ("probe_cer", "probe_wer", *SOUND)
    head = ["", "CER of the probe", "WER of the probe", "SIM", "STOI", "PESQ-NB", "PESQ-WB"]
    rows = [head, ["---"] * len(head)]
    for name, system in systems.items():
        found = [system.figures.get(each) for each in figures]
        rows.append([name, *(words(each) if each else "" for each in found)])
    for first, second in names:
        own, other = systems[first], systems[second]
        assert own.probe is not None
        assert other.probe is not None
        errors = difference(list(own.probe.transcripts), list(other.probe.transcripts))
        sound = [sound_difference(own, other, name) for name in SOUND]
        cells = [f"{first} − {second}", words(errors), ""]
        rows.append([*cells, *(words(each) if each else "" for each in sound)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def measure(sources: Mapping[str, str], folder: Path, output: Path, probe_steps: int) -> Evaluation:
    """The probe on all test clips, sound on some."""
    learned, tested = write_transcribed_shards(folder / "speech")
    return evaluate(
        EvaluateRequest(
            codecs={name: CodecRequest(source, device="cpu") for name, source in sources.items()},
            runs=(),
            data=tuple(map(str, tested)),
            output=str(output),
            probe_data=tuple(map(str, learned)),
            probe=replace(PRESETS["small"], steps=probe_steps),
            sample=SamplePlan(per_shard=SOUND_CLIPS, stratify="speaker"),
            speed_seconds=0,
            processes=0,
            device="cpu",
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".runs/prove-text-branch"))
    parser.add_argument("--steps", type=int, default=340, help="of each training")
    parser.add_argument("--probe-steps", type=int, default=PRESETS["small"].steps)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="a pair of codecs each")
    args = parser.parse_args()
    torch.set_num_threads(1)
    write_transcribed_shards(args.folder / "speech")
    sources, pairs = {}, []
    for seed in args.seeds:
        names = {kind: f"{what}, seed {seed}" for kind, what in KINDS.items()}
        for kind, name in names.items():
            sources[name] = train(kind, seed, args.folder, args.steps)
        pairs.append((names["ctc"], names["none"]))
    output = args.folder / f"evaluation-{args.steps}-{args.probe_steps}"
    found = measure(sources, args.folder, output, args.probe_steps)
    (output / "evaluation.html").write_text(render_evaluation(found))
    (output / "evaluation.json").write_text(json.dumps(as_json(found), ensure_ascii=False))
    print(table({system.name: system for system in found.systems}, pairs))


if __name__ == "__main__":
    main()
