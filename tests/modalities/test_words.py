"""Words: HotFlip against a bag of words whose best replacements are found by enumeration."""

import gzip
from itertools import combinations, product

import pytest
import torch

from holdfast.core.errors import InputError, TargetError
from holdfast.core.goal import AwayFrom
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.core.space import Budget, Words
from holdfast.core.target import WordGradients
from holdfast.data import text
from holdfast.engine.case import Case
from holdfast.engine.curve import assess
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.text_hotflip import HotFlip
from holdfast.ops.rows import Ragged, ragged
from holdfast.targets.words import WordClassifier
from tests.modalities.nets import WordCnn, train_words
from tests.modalities.toys import BagOfWords, bag_of_words


def best_by_enumeration(target: WordClassifier, x: Ragged, label: int, most: int):
    """The replacements of one text that raise the label's loss most, by trying all of them."""
    ids, options = x.row(0), target.space.allowed(x)[0]
    best, goal = (-torch.inf, None), AwayFrom(torch.tensor([label]))
    for count in range(most + 1):
        for places in combinations(range(len(ids)), count):
            choices = [[w for w in options[i].tolist() if w >= 0] for i in places]
            for words in product(*choices):
                tried = ids.clone()
                tried[list(places)] = torch.tensor(words, dtype=torch.long)
                loss = float(goal.loss(target.scores(ragged([tried]))))
                best = max(best, (loss, tried.tolist()))
    return best[1]


def last_candidate(method, target, x, goal, budget) -> Ragged:
    """What the method ends with when the engine never takes a row away."""
    return [c.x for c in method.run(target, x, goal, budget, torch.Generator())][-1]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("most", [1, 2, 3])
def test_hotflip_finds_exactly_the_best_replacements_of_a_linear_model(seed, most) -> None:
    target = bag_of_words(seed)
    x = ragged([torch.randperm(11, generator=torch.Generator().manual_seed(seed))[:5] + 1])
    label = int(target.answer(x))
    found = last_candidate(
        HotFlip(tries=1), target, x, AwayFrom(torch.tensor([label])), Budget("words", most / 5)
    )
    assert found.row(0).tolist() == best_by_enumeration(target, x, label, most)


def test_hotflip_succeeds_exactly_where_enumeration_says_that_it_can() -> None:
    target = bag_of_words(3)
    rng = torch.Generator().manual_seed(0)
    x = ragged([torch.randperm(11, generator=rng)[:n] + 1 for n in [5, 4, 5, 3, 5, 4] * 3])
    labels = target.answer(x)
    got = attack(HotFlip(), target, x, AwayFrom(labels), Budget("words", 0.4), Run())
    possible = []
    for i in range(len(x)):
        one = ragged([x.row(i)])
        best = best_by_enumeration(target, one, int(labels[i]), int(0.4 * len(x.row(i)) + 1e-6))
        possible.append(bool(target.answer(ragged([torch.tensor(best)])) != labels[i]))
    assert 0 < sum(possible) < len(possible)
    assert got.success.tolist() == possible


def test_trying_the_best_few_flips_never_ends_below_the_clean_loss() -> None:
    module = WordCnn(torch.randn(12, 6, generator=torch.Generator().manual_seed(0)), 3, width=4)
    target = WordClassifier(module.eval(), bag_of_words(0).space)
    x = ragged([torch.tensor([1, 2, 3, 4, 5, 6]), torch.tensor([7, 8, 9])])
    goal = AwayFrom(target.answer(x))
    found = last_candidate(HotFlip(), target, x, goal, Budget("words", 0.5))
    assert (goal.loss(target.scores(found)) >= goal.loss(target.scores(x))).all()
    assert (target.space.distance(found, x, "words") > 0).any()


@pytest.mark.parametrize("seed", range(6))
def test_every_flip_changes_one_more_word_and_none_is_changed_beyond_a_rows_own_budget(
    seed,
) -> None:
    vectors = torch.randn(12, 6, generator=torch.Generator().manual_seed(seed))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        target = WordClassifier(WordCnn(vectors, 2, width=3).eval(), bag_of_words(seed).space)
    rng = torch.Generator().manual_seed(seed)
    x = ragged([torch.randint(1, 12, (n,), generator=rng) for n in (6, 6, 4)])
    budget = Budget("words", torch.tensor([1 / 6, 1.0, 0.5]))
    goal = AwayFrom(torch.zeros(3, dtype=torch.long))
    before = x
    for candidate in HotFlip(tries=40).run(target, x, goal, budget, torch.Generator()):
        flipped = candidate.x.data != before.data
        assert (flipped.sum(1) <= 1).all()
        assert (before.data[flipped] == x.data[flipped]).all()  # a changed word stays
        before = candidate.x
    assert ((before.data != x.data).sum(1) <= target.space.room(x, budget)).all()


def test_word_gradients_are_the_change_of_a_linear_loss() -> None:
    target = bag_of_words(1)
    x = ragged([torch.tensor([1, 2, 3, 4, 5]), torch.tensor([6, 7, 8])])
    options = target.space.allowed(x)
    assert isinstance(target, WordGradients)
    gain = target.word_gradient(x, lambda raw: raw[:, 1] - raw[:, 0], options).wrt_input
    clean = target.scores(x)
    for n, place, c in (options >= 0).nonzero().tolist():
        changed = x.data.clone()
        changed[n, place] = options[n, place, c]
        raw = target.scores(Ragged(changed, x.length))
        change = (raw - clean)[n, 1] - (raw - clean)[n, 0]
        torch.testing.assert_close(gain[n, place, c], change, rtol=1e-4, atol=1e-5)
    assert (gain[options < 0] == 0).all()


def test_a_text_is_read_alike_alone_and_in_a_batch_however_far_it_is_padded() -> None:
    module = WordCnn(torch.randn(12, 6, generator=torch.Generator().manual_seed(0)), 3, width=4)
    target = WordClassifier(module.eval(), bag_of_words(0).space)
    rows = [torch.tensor([1, 2]), torch.tensor([3, 4, 5, 6, 7, 8]), torch.tensor([9])]
    whole = target.scores(ragged(rows))
    for i, row in enumerate(rows):
        torch.testing.assert_close(target.scores(ragged([row]))[0], whole[i])
        far = torch.cat([row, torch.zeros(7, dtype=torch.long)]).unsqueeze(0)
        torch.testing.assert_close(
            target.scores(Ragged(far, torch.tensor([len(row)])))[0], whole[i]
        )


def test_what_stands_in_the_padding_is_not_read() -> None:
    target = bag_of_words(0)
    clean = Ragged(torch.tensor([[1, 2, 0], [3, 4, 5]]), torch.tensor([2, 3]))
    dirty = Ragged(torch.tensor([[1, 2, 7], [3, 4, 5]]), torch.tensor([2, 3]))
    assert torch.equal(target.scores(dirty), target.scores(clean))


def test_a_module_of_another_vocabulary_is_refused() -> None:
    target = WordClassifier(BagOfWords(13), bag_of_words(0).space)
    x = ragged([torch.tensor([1])])
    with pytest.raises(TargetError, match="Embedding of 12 words"):
        target.word_gradient(x, lambda raw: raw[:, 0], target.space.allowed(x))


@pytest.mark.parametrize(
    ("share", "length", "room"), [(0.1, 30, 3), (0.25, 8, 2), (0.34, 3, 1), (9.0, 4, 4)]
)
def test_a_share_of_words_is_rounded_down_once(share, length, room) -> None:
    space = bag_of_words(0).space
    x = Ragged(torch.ones(1, length, dtype=torch.long), torch.tensor([length]))
    assert space.room(x, Budget("words", share)).tolist() == [room]
    noisy = space.random(x, Budget("words", share), torch.Generator().manual_seed(0))
    assert int((noisy.data != x.data).sum()) == room
    assert space.distance(space.project(noisy, x, Budget("words", share)), x, "words") <= share


def test_a_forbidden_word_is_undone_by_projection() -> None:
    space = Words(torch.tensor([[-1], [2], [1]]))
    around = Ragged(torch.tensor([[1, 2, 0]]), torch.tensor([2]))
    wrong = Ragged(torch.tensor([[1, 0, 2]]), torch.tensor([2]))
    assert space.project(wrong, around, Budget("words", 1.0)).data.tolist() == [[1, 2, 0]]
    assert space.contains(around).all()
    assert not space.contains(wrong).any()
    with pytest.raises(InputError):
        space.distance(around, around, "linf")


def test_words_in_like_company_are_neighbours_and_the_vectors_repeat() -> None:
    """Two sets of words that never meet: every neighbour comes from a word's own set."""
    rng = torch.Generator().manual_seed(0)
    own = [[f"a{chr(97 + i)}" for i in range(8)], [f"b{chr(97 + i)}" for i in range(8)]]
    texts = []
    for k in range(200):
        picks = torch.randint(8, (10,), generator=rng).tolist()
        texts.append([own[k % 2][i] for i in picks])
    vocabulary = text.Vocabulary.of(texts)
    first, again = (text.word_vectors(texts, vocabulary, dims=4) for _ in range(2))
    assert torch.equal(first, again)
    near = text.neighbours(first, 3)
    assert (near[:2] == -1).all()
    for i in range(2, len(vocabulary)):
        assert i not in near[i].tolist()
        assert {vocabulary.words[j][0] for j in near[i].tolist()} == {vocabulary.words[i][0]}


def test_unknown_words_and_empty_texts_have_an_id_and_long_texts_are_cut() -> None:
    vocabulary = text.Vocabulary.of([["a", "b", "b"], ["a", "b", "c"]], least=2)
    assert vocabulary.words == ("", "[UNK]", "b", "a")
    space = Words(torch.full((4, 1), -1))
    data = vocabulary.dataset("toy", ([["a", "x", "b"], []], [1, 0]), ("n", "p"), space, longest=2)
    assert data.x.data.tolist() == [[3, 1], [1, 0]]
    assert data.x.length.tolist() == [2, 1]


def test_readers_take_the_published_form_and_refuse_another(tmp_path) -> None:
    (tmp_path / "train.csv.gz").write_bytes(
        gzip.compress(b'"3","A \\"b\\" ","It\'s $5"\n'.replace(b'\\"', b'""'))
    )
    assert text.ag_news(tmp_path) == ([["a", "b", "it's", "$", "5"]], [2])
    (tmp_path / "train.csv.gz").write_bytes(gzip.compress(b"5,a,b\n"))
    with pytest.raises(InputError, match="class 1-4"):
        text.ag_news(tmp_path)
    lines = b"1 it 's good , is n't it\n0 bad\n"
    (tmp_path / "stsa.binary.dev.gz").write_bytes(gzip.compress(lines))
    good = ["it's", "good", "is", "n't", "it"]
    assert text.sst2(tmp_path, "dev") == ([good, ["bad"]], [1, 0])
    (tmp_path / "stsa.binary.dev.gz").write_bytes(gzip.compress(b"2 odd\n"))
    with pytest.raises(InputError, match="label 0 or 1"):
        text.sst2(tmp_path, "dev")
    (tmp_path / "stsa.binary.dev.gz").write_bytes(gzip.compress(lines)[:-9])
    with pytest.raises(InputError, match="cannot be read"):
        text.sst2(tmp_path, "dev")


def news(folder):
    train, test = text.ag_news(folder / "ag-news"), text.ag_news(folder / "ag-news", "test")
    return train, test, ("World", "Sports", "Business", "Sci/Tech"), 0.80, 3


def films(folder):
    train, test = text.sst2(folder / "sst2"), text.sst2(folder / "sst2", "test")
    return train, test, ("negative", "positive"), 0.70, 4


@pytest.mark.data
@pytest.mark.parametrize("read", [news, films])
def test_hotflip_turns_real_texts_where_random_replacement_does_not(read, shared_data) -> None:
    train, test, classes, least, epochs = read(shared_data)
    vocabulary = text.Vocabulary.of(train[0])
    vectors = text.word_vectors(train[0], vocabulary)
    space = Words(text.neighbours(vectors, 10))
    rows = vocabulary.dataset("train", train, classes, space)
    held_out = vocabulary.dataset("test", test, classes, space).first(300)
    target = WordClassifier(train_words(vectors, rows, epochs), space)
    case = Case(target, held_out, ThreatModel("WordGradients", measure="words", eps=(0.1, 0.25)))
    found = {(m.name, m.part): m.value for m in assess(HotFlip(), case, Run()).measurements}
    assert found["clean accuracy", ""] > least  # the victim is worth attacking
    for part, gap in (("eps=0.1", 0.3), ("eps=0.25", 0.5)):
        control = found["accuracy under random noise", part]
        assert control > 0.8 * found["clean accuracy", ""]
        assert found["robust accuracy", part] < control - gap
