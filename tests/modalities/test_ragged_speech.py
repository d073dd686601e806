"""Ragged sound: CTC, recognisers that cannot see their padding, and transcripts made to order."""

import io
import zipfile
from itertools import product

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError
from holdfast.core.goal import Transcript
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.core.space import Budget, Waveform
from holdfast.core.target import Gradients
from holdfast.data.speech import Recordings, fsdd, strings
from holdfast.engine.case import Case
from holdfast.engine.curve import assess
from holdfast.engine.evasion import attack
from holdfast.engine.sequence import random_transcripts, symbol_errors, write
from holdfast.evasion.attacks.audio_targeted import AudioTargeted
from holdfast.ops import ctc, mel
from holdfast.ops.rows import Ragged, ragged
from holdfast.targets.speech import CtcRecogniser
from tests.modalities.nets import Recogniser, train_recogniser
from tests.modalities.toys import levels

TONES = (400.0, 800.0, 1400.0, 2400.0)


def collapse(path) -> list[int]:
    """What a path of symbols writes: repeats merged, then blanks dropped."""
    return [s for i, s in enumerate(path) if s != 0 and (i == 0 or path[i - 1] != s)]


def test_mel_filters_sum_to_one_between_the_first_and_the_last_centre() -> None:
    bank = mel.filterbank(20, 512, 8000)
    centres = (bank.argmax(0) * 8000 / 512).tolist()
    bins = torch.linspace(0, 4000, 257)
    inner = (bins > centres[0] + 16) & (bins < centres[-1] - 16)
    torch.testing.assert_close(bank[inner].sum(1), torch.ones(int(inner.sum())))
    assert centres == sorted(centres)
    torch.testing.assert_close(
        mel.hertz_to_mel(torch.tensor(1000.0)), torch.tensor(1000.0), rtol=1e-4, atol=0.1
    )
    torch.testing.assert_close(mel.mel_to_hertz(mel.hertz_to_mel(bins)), bins, rtol=1e-4, atol=0.01)


def test_best_path_decoding_merges_repeats_then_drops_blanks_and_stops_at_the_end() -> None:
    paths = torch.tensor(
        [[0, 1, 1, 0, 1, 2, 3, 3], [2, 2, 2, 1, 0, 0, 0, 3], [0, 0, 0, 0, 0, 0, 0, 0]]
    )
    scores = torch.nn.functional.one_hot(paths, 4).float()
    said = ctc.greedy(Ragged(scores, torch.tensor([6, 8, 8])))
    assert [said.row(i).tolist() for i in range(3)] == [[1, 1, 2], [2, 1, 3], []]
    assert said.data.tolist() == [[1, 1, 2], [2, 1, 3], [0, 0, 0]]


def test_the_loss_of_a_transcript_is_the_log_of_all_paths_that_write_it() -> None:
    logp = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0)).log_softmax(2)
    for wanted in ([1], [1, 2], [1, 1], [2, 1, 2]):
        total = sum(
            float(logp[0, range(4), list(path)].sum().exp())
            for path in product(range(3), repeat=4)
            if collapse(path) == wanted
        )
        goal = Transcript(ragged([torch.tensor(wanted)]))
        loss = goal.loss(Ragged(logp, torch.tensor([4])))
        torch.testing.assert_close(loss, torch.tensor([total]).log())


def test_a_transcript_that_cannot_be_written_is_refused_and_one_that_just_fits_is_not() -> None:
    wanted = ragged([torch.tensor([1, 1, 2])])
    assert ctc.least_frames(wanted).tolist() == [4]
    sound = Ragged(torch.zeros(1, 4), torch.tensor([4]))
    goal, budget = Transcript(wanted), Budget("linf", 0.5)
    assert attack(AudioTargeted(steps=60), levels(), sound, goal, budget, Run()).success.all()
    short = Ragged(torch.zeros(1, 3), torch.tensor([3]))
    with pytest.raises(InputError, match="3 frames where 4 are needed"):
        attack(AudioTargeted(steps=60), levels(), short, goal, budget, Run())


def test_degrees_of_a_transcript_are_one_minus_the_share_of_edits() -> None:
    goal = Transcript(ragged([torch.tensor([1, 2, 3, 1])] * 4))
    said = [[1, 2, 3, 1], [1, 3, 1], [], [2, 2, 3, 1, 1]]
    out = ragged([torch.tensor(row, dtype=torch.long) for row in said])
    assert goal.degree(out).tolist() == pytest.approx([1, 3 / 4, 0, 3 / 5])


@pytest.mark.parametrize(("eps", "reached"), [(0.26, True), (0.24, False)])
def test_a_transcript_is_reached_exactly_when_the_levels_it_needs_are_in_reach(
    eps, reached
) -> None:
    rows = [torch.zeros(4), torch.zeros(7), torch.zeros(2)]
    goal = Transcript(ragged([torch.tensor([1, 2]), torch.tensor([2, 1, 2]), torch.tensor([1])]))
    got = attack(AudioTargeted(steps=80), levels(), ragged(rows), goal, Budget("linf", eps), Run())
    assert (got.success == reached).all()


def test_projected_sound_is_what_a_file_can_hold_and_stays_in_the_ball() -> None:
    space, rng = Waveform(), torch.Generator().manual_seed(0)
    clean = (torch.rand(6, 50, generator=rng) * 65535).floor() / 32768 - 1
    around = Ragged(clean, torch.tensor([50, 30, 1, 50, 7, 50]))
    around = Ragged(clean * around.mask, around.length)
    wild = Ragged(clean + torch.randn(clean.shape, generator=rng), around.length)
    for measure, eps in (("linf", 0.01), ("linf", 1e-6), ("l2", 0.3)):
        budget = Budget(measure, eps)
        for x in (space.project(wild, around, budget), space.random(around, budget, rng)):
            assert space.contains(x).all()
            assert (space.distance(x, around, measure) <= eps + 1e-7).all()
            stored = (x.data * 32768).round().to(torch.int16)
            assert torch.equal(stored.float() / 32768, x.data)
    assert not space.contains(Ragged(torch.full((1, 2), 0.1), torch.tensor([2]))).any()
    assert not space.contains(Ragged(torch.full((1, 2), 0.5), torch.tensor([1]))).any()


def test_l2_noise_does_not_shrink_with_the_padding() -> None:
    space = Waveform(bits=None)
    around = Ragged(torch.zeros(2, 4000), torch.tensor([40, 4000]))
    noise = space.random(around, Budget("l2", 0.5), torch.Generator().manual_seed(0))
    torch.testing.assert_close(space.distance(noise, around, "l2"), torch.tensor([0.5, 0.5]))


def test_what_stands_in_the_padding_takes_nothing_from_the_budget() -> None:
    space = Waveform(bits=None)
    around = Ragged(torch.zeros(1, 6), torch.tensor([2]))
    wild = Ragged(torch.tensor([[0.3, 0.4, 9.0, 9.0, 9.0, 9.0]]), torch.tensor([2]))
    kept = space.project(wild, around, Budget("l2", 0.5)).data
    torch.testing.assert_close(kept, torch.tensor([[0.3, 0.4, 0.0, 0.0, 0.0, 0.0]]))


def melody(symbols, rng: torch.Generator) -> torch.Tensor:
    """Each symbol as a pure tone of its own, 80 to 140 ms, between pauses, in noise; 16 bits."""
    parts = [torch.zeros(240)]
    for symbol in symbols:
        length = int(torch.randint(640, 1120, (), generator=rng))
        phase, gain = torch.rand(2, generator=rng).tolist()
        time = torch.arange(length) / 8000
        tone = (0.3 + 0.4 * gain) * torch.sin(2 * torch.pi * (TONES[symbol - 1] * time + phase))
        pause = int(torch.randint(200, 480, (), generator=rng))
        parts += [tone * torch.hann_window(length).clamp(max=0.5) * 2, torch.zeros(pause)]
    whole = torch.cat(parts)
    noisy = whole + 0.02 * torch.randn(whole.shape, generator=rng)
    return (noisy.clamp(-1, 0.999) * 32768).round() / 32768


def melodies(count: int, seed: int) -> Dataset:
    rng = torch.Generator().manual_seed(seed)
    said = [
        torch.randint(1, 5, (int(torch.randint(1, 4, (), generator=rng)),), generator=rng)
        for _ in range(count)
    ]
    sound = ragged([melody(symbols.tolist(), rng) for symbols in said])
    return Dataset("melodies", sound, ragged(said).data, ("", *"abcd"), Waveform())


@pytest.fixture(scope="module")
def listener() -> CtcRecogniser:
    """A recogniser of the tone language."""
    net = train_recogniser(melodies(300, 0), 160, width=32, rate=8e-3, bands=24)
    return CtcRecogniser(net)


def test_a_sound_is_heard_alike_alone_and_in_a_batch_however_far_it_is_padded(listener) -> None:
    x = melodies(6, 3).x
    goal = Transcript(ragged([torch.tensor([1, 2])] * 6))
    together, grads = listener.scores(x), listener.gradient(x, goal.loss).wrt_input
    assert isinstance(listener, Gradients)
    for i in range(6):
        row = x.row(i)
        for extra in (0, 333):
            alone = Ragged(torch.cat([row, torch.zeros(extra)]).unsqueeze(0), x.length[i : i + 1])
            one = torch.tensor([i])
            torch.testing.assert_close(
                listener.scores(alone).row(0), together.row(i), rtol=1e-4, atol=1e-4
            )
            grad = listener.gradient(alone, goal.take(one).loss).wrt_input
            scale = float(grads[i].abs().max())
            torch.testing.assert_close(
                grad[0, : len(row)] / scale, grads[i, : len(row)] / scale, rtol=1e-3, atol=1e-3
            )
            assert (grad[0, len(row) :] == 0).all()
    assert (grads[~x.mask] == 0).all()
    assert (grads[x.mask] != 0).float().mean() > 0.99


def test_what_stands_in_the_padding_is_not_heard(listener) -> None:
    x = melodies(4, 3).x
    dirty = Ragged(torch.where(x.mask, x.data, 0.7), x.length)
    assert torch.equal(listener.scores(dirty).data, listener.scores(x).data)


def test_gradients_of_the_likelihood_agree_with_finite_differences() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Recogniser(4, width=8, bands=12).double()
    target = CtcRecogniser(net, Waveform(bits=None))
    rng = torch.Generator().manual_seed(1)
    x = Ragged(
        0.1 * torch.randn(2, 1200, generator=rng, dtype=torch.float64), torch.tensor([1200, 900])
    )
    x = Ragged(x.data * x.mask, x.length)
    goal = Transcript(ragged([torch.tensor([1, 2]), torch.tensor([3])]))
    grad = target.gradient(x, goal.loss).wrt_input
    way = torch.randn(x.data.shape, generator=rng, dtype=torch.float64) * x.mask
    step = 1e-6
    up, down = (goal.loss(target.scores(Ragged(x.data + s * way, x.length))) for s in (step, -step))
    torch.testing.assert_close((grad * way).sum(1), (up - down) / (2 * step), rtol=1e-4, atol=1e-6)


def test_a_melody_is_made_to_say_any_string_within_a_budget_that_noise_cannot_use(listener) -> None:
    held_out = melodies(40, 1)
    meant = ctc.transcripts(held_out.y)
    wrong, symbols = symbol_errors(write(listener, held_out.x, Run()), meant)
    assert wrong / symbols < 0.1  # the victim is worth attacking
    x, meant = held_out.x.take(torch.arange(12)), meant.take(torch.arange(12))
    wanted = random_transcripts(meant, 4, torch.Generator().manual_seed(5))
    goal, budget = Transcript(wanted), Budget("linf", 0.03)
    got = attack(AudioTargeted(steps=120), listener, x, goal, budget, Run())
    noise = listener.space.random(x, budget, torch.Generator().manual_seed(6))
    stored = (got.x.data * 32768).round().to(torch.int16)  # as a WAV file would hold it
    heard = listener.answer(Ragged(stored.float() / 32768, x.length))
    assert int((goal.degree(heard) == 1).sum()) >= 10
    assert int((goal.degree(listener.answer(noise)) == 1).sum()) <= 1
    assert torch.equal(goal.degree(heard), got.degree)
    assert (got.distance <= 0.03 * (1 + 1e-4)).all()


def test_a_speech_assessment_counts_targets_reached_and_shows_its_controls(listener) -> None:
    data = melodies(8, 2)
    case = Case(listener, data, ThreatModel("Gradients", True, "linf", (0.0, 0.03)))
    evidence = assess(AudioTargeted(steps=60), case, Run())
    found = {(m.name, m.part): m for m in evidence.measurements}
    right = int((Transcript(ctc.transcripts(data.y)).degree(listener.answer(data.x)) == 1).sum())
    assert found["clean accuracy", ""].value == right / 8
    assert found["targets reached", "eps=0"].value == 0
    assert found["robust accuracy", "eps=0"].value == right / 8
    assert found["accuracy under random noise", "eps=0"].value == right / 8
    assert found["targets reached", "eps=0.03"].value > 0.6
    assert found["targets reached", "eps=0.03"].n == right
    assert found["targets reached by random noise", "eps=0.03"].value < 0.2
    reached = found["targets reached", "eps=0.03"].value * right
    assert found["robust accuracy", "eps=0.03"].value == pytest.approx((right - reached) / 8)
    shown = evidence.tensors["labels"]
    assert torch.equal(evidence.tensors["answers"][:, : shown.shape[1]] * (shown > 0), shown)


def test_wanted_strings_are_wrong_of_the_same_length_and_without_equal_neighbours() -> None:
    rng = torch.Generator().manual_seed(0)
    meant = ragged([torch.randint(1, 4, (n,), generator=rng) for n in (1, 2, 3) * 200])
    wanted = random_transcripts(meant, 3, rng)
    assert torch.equal(wanted.length, meant.length)
    assert torch.equal(ctc.least_frames(wanted), meant.length)
    assert ((wanted.data > 0) == meant.mask).all()
    assert wanted.data.max() == 3
    assert (Transcript(meant).degree(wanted) < 1).all()


def recordings_zip(path, name: str, rate: int = 8000):
    """A zip of one recording: samples -32768, 0 and 16384."""
    body = io.BytesIO()
    wavfile.write(body, rate, np.array([-32768, 0, 16384], dtype=np.int16))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"recordings/{name}", body.getvalue())
    return path


def test_recordings_are_read_sample_for_sample_and_other_files_refused(tmp_path) -> None:
    one = fsdd(recordings_zip(tmp_path / "a.zip", "7_theo_3.wav"))
    assert one.sound.row(0).tolist() == [-1.0, 0.0, 0.5]
    assert (int(one.digit[0]), one.speakers, int(one.index[0])) == (7, ("theo",), 3)
    train, test = one.split()
    assert (len(train.digit), len(test.digit)) == (0, 1)
    for name, rate in (("theo.wav", 8000), ("7_theo_3.wav", 16000), ("7_theo_3.txt", 8000)):
        with pytest.raises(InputError):
            fsdd(recordings_zip(tmp_path / "b.zip", name, rate))
    (tmp_path / "c.zip").write_bytes(b"no zip")
    with pytest.raises(InputError, match="cannot be read"):
        fsdd(tmp_path / "c.zip")


def test_strings_say_what_their_labels_say() -> None:
    sound = ragged([torch.full((400,), (d + 1) / 10) for d in range(10)])
    digits = torch.arange(10)
    words = Recordings(sound, digits, digits * 0, digits + 5, ("a",))
    data = strings(words, 20, (2, 4), seed=0)
    assert data.space.contains(data.x).all()
    for i in range(20):
        said = data.y[i][data.y[i] > 0]
        loud = data.x.row(i).abs() > 0.1
        starts = (loud[1:] & ~loud[:-1]).sum()
        assert 2 <= len(said) <= 4
        assert int(starts) == len(said)  # one burst a digit
        assert int(loud.sum()) == 400 * len(said)


@pytest.mark.data
def test_spoken_digits_are_made_to_say_other_digits(shared_data) -> None:
    train, test = fsdd(shared_data / "fsdd" / "fsdd.zip").split()
    assert (len(train.digit), len(test.digit)) == (1200, 300)
    net = train_recogniser(strings(train, 800, (2, 3), seed=1), 500, rate=4e-3)
    held_out = strings(test, 40, (2, 3), seed=2)
    target = CtcRecogniser(net, held_out.space)
    wrong, symbols = symbol_errors(write(target, held_out.x, Run()), ctc.transcripts(held_out.y))
    assert wrong / symbols < 0.25  # the victim is worth attacking
    case = Case(target, held_out.first(16), ThreatModel("Gradients", True, "linf", (0.01,)))
    found = {m.name: m.value for m in assess(AudioTargeted(steps=150), case, Run()).measurements}
    assert found["clean accuracy"] > 0.5
    assert found["targets reached"] > 0.8
    assert found["targets reached by random noise"] == 0
