"""The sample that is stratified by size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vmafarm.corpus.sample import stratified

corpora = st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers(0, 2**40), max_size=60)


@given(corpora, st.integers(0, 70), st.randoms())
def test_the_sample_depends_on_names_and_sizes_alone_and_takes_each_clip_once(corpus, limit, draw):
    names = list(corpus)
    chosen = stratified(names, list(corpus.values()), limit)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(limit, len(names))
    shuffled = draw.sample(names, len(names))
    again = stratified(shuffled, [corpus[name] for name in shuffled], limit)
    assert {shuffled[at] for at in again} == {names[at] for at in chosen}


@given(corpora, st.integers(1, 30))
def test_each_stretch_of_the_clips_in_order_of_size_gives_one(corpus, limit):
    names = list(corpus)
    chosen = {names[at] for at in stratified(names, list(corpus.values()), limit)}
    order = sorted(names, key=lambda name: (corpus[name], name.encode()))
    ranks = [rank for rank, name in enumerate(order) if name in chosen]
    for i, rank in enumerate(ranks):
        assert i * len(order) // len(ranks) <= rank < (i + 1) * len(order) // len(ranks)


@given(corpora, st.integers(1, 15))
def test_a_sample_of_twice_as_many_contains_the_smaller_one(corpus, limit):
    names, sizes = list(corpus), list(corpus.values())
    if len(names) >= 2 * limit:
        assert set(stratified(names, sizes, limit)) <= set(stratified(names, sizes, 2 * limit))


def test_a_few_large_clips_among_many_small_ones_are_not_missed():
    sizes = [1000] * 90 + [1_000_000] * 10
    chosen = stratified([f"{i}.mp4" for i in range(100)], sizes, 10)
    assert sum(at >= 90 for at in chosen) == 1


def test_the_sample_is_the_same_on_every_machine():
    names = [f"orig_{i}_540_5s.mp4" for i in range(1000)]
    assert stratified(names, [100 + i % 7 for i in range(1000)], 3) == [135, 516, 591]
