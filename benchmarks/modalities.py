"""Attacks beyond image classifiers on real data: scenes, spoken digits, texts.

    PYTHONPATH=. python benchmarks/modalities.py [--data DIR] [--only scenes ...] [--out FILE]

Prints one line per budget: the victim's figure on clean inputs, under attack and under its control.
Controls have the attack's size: uniform noise and random signs for scenes, uniform noise for sound,
for text random allowed replacements at random places, once and as the best of 20 draws.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from holdfast.core.goal import AwayFrom, Pixels, Transcript
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.core.space import Budget, Words
from holdfast.data import scenes, speech, text
from holdfast.data.idx import open_idx
from holdfast.engine.case import rate
from holdfast.engine.evasion import answers, attack
from holdfast.engine.sequence import random_transcripts, symbol_errors, write
from holdfast.evasion.attacks.audio_targeted import AudioTargeted
from holdfast.evasion.attacks.pgd import PGD
from holdfast.evasion.attacks.text_hotflip import HotFlip
from holdfast.ops.ctc import transcripts
from holdfast.ops.rows import Ragged
from holdfast.targets.speech import CtcRecogniser
from holdfast.targets.torch import TorchClassifier
from holdfast.targets.words import WordClassifier
from tests.modalities.nets import train_recogniser, train_segmenter, train_words

Line = tuple[str, Measurement]


def segmentation(data: Path) -> Iterator[Line]:
    """MNIST scenes: mean IoU (11 classes), n scenes; PGD with 20 steps on the goal Pixels."""
    digits = open_idx(data / "mnist", seed=0)
    shape = {"most": 3, "height": (18, 26)}
    train = scenes.compose(digits.train, 2000, 48, seed=1, **shape)
    test = scenes.compose(digits.test, 100, 48, seed=2, **shape)
    target = TorchClassifier(train_segmenter(train, epochs=16, width=16, batch=16))

    def figure(name: str, x: torch.Tensor, part: str = "") -> Line:
        iou = scenes.mean_iou(target.answer(x), test.y, 11)
        return "scenes", Measurement(name, iou, len(x), part=part)

    yield figure("clean mean IoU", test.tensor)
    for eps in (8, 16, 32):
        budget, part = Budget("linf", eps / 255), f"eps={eps}/255"
        got = attack(PGD(steps=20), target, test.tensor, Pixels(test.y), budget, Run())
        yield figure("PGD mean IoU", got.x, part)
        noise = target.space.random(test.tensor, budget, Run().generator("control"))
        yield figure("uniform noise mean IoU", noise, part)
        coin = torch.rand(noise.shape, generator=Run().generator("signs")) < 0.5
        signs = test.tensor + torch.where(coin, -1.0, 1.0) * eps / 255
        yield figure("random signs mean IoU", signs.clamp(0, 1), part)


def recognition(data: Path) -> Iterator[Line]:
    """FSDD strings of 2 to 4 digits by unseen recordings of known speakers; random wanted strings."""
    train, test = speech.fsdd(data / "fsdd" / "fsdd.zip").split()
    rows = speech.strings(train, 2000, (2, 4), seed=1)
    held_out = speech.strings(test, 100, (2, 4), seed=2)
    target = CtcRecogniser(train_recogniser(rows, 1000, rate=4e-3), held_out.space)
    meant, said = transcripts(held_out.y), write(target, held_out.x, Run())
    wrong, symbols = symbol_errors(said, meant)
    right = Transcript(meant).degree(said) >= 1
    yield "speech", Measurement("clean word error rate", wrong / symbols, symbols)
    yield "speech", rate("clean strings right", right)
    picked = right.nonzero().flatten()[:40]
    x, truth = held_out.x.take(picked), meant.take(picked)
    goal = Transcript(random_transcripts(truth, 10, Run().generator("wanted")))
    for eps in (20, 82, 328):
        budget, part = Budget("linf", eps / 32768), f"eps={eps}/32768"
        got = attack(AudioTargeted(steps=300), target, x, goal, budget, Run())
        stored = (got.x.data * 32768).round().to(torch.int16)  # as a WAV file holds it
        heard = target.answer(Ragged(stored.float() / 32768, x.length))
        yield "speech", rate("wanted strings heard", goal.degree(heard) >= 1, part=part)
        if got.success.any():
            loud = x.data.abs().amax(1)[got.success]
            level = 20 * (got.distance[got.success] / loud).log10()
            yield (
                "speech",
                Measurement("median dB", float(level.median()), len(level), part=part, unit="dB"),
            )
        noise = target.answer(target.space.random(x, budget, Run().generator("control")))
        yield "speech", rate("wanted strings in noise", goal.degree(noise) >= 1, part=part)
        kept = Transcript(truth).degree(noise) >= 1
        yield "speech", rate("right strings in noise", kept, part=part)


def reading(data: Path) -> Iterator[Line]:
    """AG News and SST-2 by a word CNN; HotFlip among the nearest words by PPMI-SVD vectors."""
    agn = text.ag_news(data / "ag-news"), text.ag_news(data / "ag-news", "test")
    sst = text.sst2(data / "sst2"), text.sst2(data / "sst2", "test")
    for name, (train, test), classes, epochs in (
        ("AG News", agn, ("World", "Sports", "Business", "Sci/Tech"), 4),
        ("SST-2", sst, ("negative", "positive"), 4),
    ):
        vocabulary = text.Vocabulary.of(train[0])
        vectors = text.word_vectors(train[0], vocabulary)
        every = Words(text.neighbours(vectors, 10))
        rows = vocabulary.dataset(name, train, classes, every)
        held_out = vocabulary.dataset(name, test, classes, every)
        module = train_words(vectors, rows, epochs)
        right = answers(WordClassifier(module, every), held_out.x, Run()) == held_out.y
        yield name, rate("clean accuracy", right)
        picked = right.nonzero().flatten()[:300]
        x, goal = held_out.x.take(picked), AwayFrom(held_out.y[picked])
        for count in (10, 50):
            target = WordClassifier(module, Words(text.neighbours(vectors, count)))
            for eps in (0.1, 0.25):
                yield from _flips(name, target, x, goal, eps, f"eps={eps:g}, {count} neighbours")


def _flips(
    name: str, target: WordClassifier, x: Ragged, goal: AwayFrom, eps: float, part: str
) -> Iterator[Line]:
    budget = Budget("words", eps)
    got = attack(HotFlip(), target, x, goal, budget, Run())
    yield name, rate("HotFlip turned", got.success, part=part)
    changed = float(got.distance[got.success].mean())
    yield name, Measurement("words changed", changed, int(got.success.sum()), part=part)
    passes = (got.forwards + got.backwards) / len(x)
    yield name, Measurement("passes per text", passes, len(x), part=part)
    fell = []
    for draw in range(20):
        noise = target.space.random(x, budget, Run().generator("control", draw))
        fell.append(goal.degree(target.answer(noise)) >= 1)
    yield name, rate("one random draw turned", fell[0], part=part)
    yield name, rate("best of 20 random draws turned", torch.stack(fell).any(0), part=part)


RUNS = {"scenes": segmentation, "speech": recognition, "text": reading}


def main() -> None:
    """Run what is asked for, print it, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", nargs="*", choices=RUNS, default=list(RUNS))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    lines = []
    for key in given.only:
        start = time.process_time()
        for subject, m in RUNS[key](given.data):
            print(f"{subject}: {m}", flush=True)
            lines.append({"subject": subject, **vars(m)})
        print(f"{key}: {time.process_time() - start:.0f} s of processor time", flush=True)
    if given.out:
        given.out.write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
