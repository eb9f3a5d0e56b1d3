"""The audit's page: self-contained, escaped, honest about what it shows."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from pipeline.audit.audit_output import summarize
from pipeline.audit.compare import compare
from pipeline.audit.judge.baseline import load_baseline, make_baseline, save_baseline
from pipeline.audit.judge.verdict import judge
from pipeline.audit.report.audit_page import render_report
from pipeline.audit.report.compare_page import compare_headline, render_comparison
from pipeline.audit.report.notes import cost_words
from pipeline.errors import UsageError
from pipeline.storage.client import Storage
from tests.support.audit_page import HOSTILE, SCRIPT, findings, page, tags, texts
from tests.support.audit_planting import clean_baseline
from tests.support.audit_simulation import audit_of, clean_shard, pool


def test_every_tag_that_opens_closes_in_order() -> None:
    assert len(tags(page())) > 200


def test_text_and_keys_from_the_corpus_never_become_tags() -> None:
    assert SCRIPT not in page()
    assert "&lt;script&gt;alert" in page()
    assert [tag for tag, _ in tags(page())].count("script") == 1
    assert not [attrs for _, attrs in tags(page()) if "onload" in attrs]


@pytest.mark.parametrize("words", HOSTILE)
def test_what_the_corpus_says_is_shown_as_it_is_and_is_never_markup(words: str) -> None:
    found = findings(2)
    clips = (
        replace(found.clips[0], key=words, text=words, speaker=words, heard_original=words),
        *found.clips[1:],
    )
    hostile = replace(found, clips=clips, output=words)
    html = render_report(hostile, judge(found), num_clips=len(clips))
    assert texts(html).count(words) >= 5
    assert [tag for tag, _ in tags(html)].count("h1") == 1
    names = {name for _, attrs in tags(html) for name in attrs}
    assert not [name for name in names if name.startswith("on")]


def test_a_compared_run_may_have_any_name() -> None:
    found = findings(2)
    html = render_comparison(compare(replace(found, output=HOSTILE[0]), found))
    assert HOSTILE[0] in texts(html)
    assert "img" not in [tag for tag, _ in tags(html)]


def test_the_page_loads_nothing_from_anywhere() -> None:
    addresses = [
        attrs.get(name) or ""
        for _, attrs in tags(page())
        for name in ("src", "href")
        if name in attrs
    ]
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "url(" not in page()
    assert "http" not in re.sub(r'http-equiv="[^"]+"', "", page())


def test_every_picture_and_player_says_what_it_is() -> None:
    for tag, attrs in tags(page()):
        if tag in ("svg", "audio"):
            assert attrs.get("aria-label")
        if tag == "img":
            assert attrs.get("alt")


def test_players_come_in_pairs_of_original_and_reconstruction() -> None:
    labels = [attrs["aria-label"] or "" for tag, attrs in tags(page()) if tag == "audio"]
    assert len(labels) == 16
    assert sum(label.startswith("Original") for label in labels) == 8


def test_the_page_is_small_enough_for_mail() -> None:
    assert len(page()) < 3_000_000


def test_the_answer_names_the_fault_and_the_shard_to_leave_out() -> None:
    assert "<h1>Leave 1 shard out, use the 5</h1>" in page()
    assert "scattered flips" in page()
    assert "Emilia/EN/EN-B000001.tar" in page()


def test_missing_figures_are_listed_with_their_reason() -> None:
    assert "no_speech" in page()


def test_published_figures_stand_only_beside_the_released_checkpoint() -> None:
    found = findings(2)
    assert "Published" not in page()
    released = replace(found, codec={"name": "xy-tokenizer-16k"})
    html = render_report(released, judge(released))
    assert "Published" in html
    # Their SIM is of another speaker model, so it stands beside none of ours.
    assert '<td class="number">0.85</td>' not in html


def test_the_cost_of_each_step_is_told_apart() -> None:
    spent = {"asr": 3.0, "dnsmos": 2.0, "stoi": 0.5, "encode": 4.5, "read": 0.001}
    found = audit_of([replace(clip, seconds=spent) for clip in findings(2).clips])
    assert len(found.clips) == 40
    told = (
        "Spent, all processes added up: encoding 180 s (45%), recogniser 120 s (30%), "
        "DNSMOS 80 s (20%), STOI 20 s (5%)."
    )
    assert cost_words(found) == told
    assert told in texts(render_report(found, judge(found)))


def test_a_page_without_any_clip_still_says_so() -> None:
    empty = audit_of([])
    assert "Nothing to judge yet" in render_report(empty, judge(empty))


def test_a_run_of_many_shards_keeps_its_strip_narrow() -> None:
    rng = np.random.default_rng(2)
    clips = [c for n in range(600) for c in clean_shard(f"s{n:04d}", pool(), rng, 1)]
    found = audit_of(clips)
    html = render_report(found, judge(found, clean_baseline()), clean_baseline())
    cells = [attrs for tag, attrs in tags(html) if tag == "rect" and "cell" in str(attrs)]
    assert 0 < len(cells) <= 240 * 10


def test_how_the_codec_itself_sounds_is_told_whatever_the_verdict() -> None:
    lost = [replace(clip, scores=replace(clip.scores, stoi=0.3)) for clip in findings(3).clips]
    found = audit_of(lost)
    sentence = "Through this codec: STOI 0.30 (1 is the original)"
    assert sentence in render_report(found, judge(found))
    assert json.loads(summarize(found, judge(found)))["sound"].startswith(sentence)


def test_summary_is_strict_json_with_the_answer() -> None:
    found = findings()
    content = json.loads(summarize(found, judge(found, clean_baseline())))
    assert content["verdict"] == "drift"
    assert content["exit_code"] == 1
    assert content["shards_by_verdict"] == {
        "ok": 5,
        "cannot judge": 0,
        "unusual content": 0,
        "drift": 1,
        "broken": 0,
    }
    assert content["shards"][1]["faults"][0]["name"] == "scattered flips"


def test_a_saved_baseline_judges_as_the_one_in_memory(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = str(tmp_path_factory.mktemp("baseline") / "baseline.json")
    found = findings()
    save_baseline(Storage(), make_baseline(found), path)
    loaded = judge(found, load_baseline(Storage(), path))
    direct = judge(found, make_baseline(found))
    assert [shard.verdict for shard in loaded.shards] == [shard.verdict for shard in direct.shards]


def test_a_file_that_is_no_baseline_is_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("baseline") / "other.json"
    path.write_text("{}")
    with pytest.raises(UsageError, match=r"other\.json"):
        load_baseline(Storage(), str(path))


def test_scores_of_two_sim_models_are_never_compared() -> None:
    found = findings(2)
    other = replace(clean_baseline(), sim_model="another")
    changes = judge(found, other).shards[0].changes
    assert changes["sim"].difference is None
    assert changes["stoi"].difference is not None
    with pytest.raises(UsageError, match="never compared"):
        compare(found, replace(found, sim_model="another"))


def test_comparing_a_run_with_itself_finds_no_difference() -> None:
    comparison = compare(findings(), findings())
    assert comparison.winners == ()
    assert "No difference that matters" in render_comparison(comparison)


def test_comparing_finds_the_better_side_on_the_same_clips() -> None:
    a = findings(2)
    scores = [replace(clip.scores, stoi=(clip.scores.stoi or 0) - 0.02) for clip in a.clips]
    b = replace(a, clips=tuple(replace(c, scores=s) for c, s in zip(a.clips, scores, strict=True)))
    comparison = compare(a, b)
    assert comparison.winners == (("stoi", "A"),)
    assert compare_headline(comparison).answer == "A sounds better"
    assert SCRIPT not in render_comparison(comparison)


def test_a_handful_of_clips_is_too_few_to_compare() -> None:
    found = findings(2)
    few = replace(found, clips=found.clips[:6])
    assert compare_headline(compare(few, few)).answer == "Too few clips to say"
