"""Reads exported runs back with the real packages and checks every number they hold.

    medharness export RUN --to lm-eval --out DIR
    medharness export RUN --to inspect --out DIR
    python golden/make/read_exports.py DIR [DIR ...]

Makes nothing. Without a folder it says so and ends well. Versions: lm_eval 0.4.13, inspect_ai 0.3.285.
"""

import json
import math
import sys
from pathlib import Path


def close(a, b):
    assert math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-15), (a, b)


def lm_eval_folder(folder):
    from lm_eval import utils

    names = [str(path) for path in Path(folder).iterdir()]
    results_files = utils.get_results_filenames(names)
    samples_files = utils.get_sample_results_filenames(names)
    if not results_files:
        return 0
    results = json.loads(Path(utils.get_latest_filename(results_files)).read_text())
    samples_file = utils.get_latest_filename(samples_files)
    task = utils.get_file_task_name(Path(samples_file).name)
    assert task in results["results"], (task, list(results["results"]))
    assert utils.get_file_datetime(samples_file) == utils.get_file_datetime(results_files[-1]).replace(".json", "")
    samples = [json.loads(line) for line in Path(samples_file).read_text().splitlines()]

    row = results["results"][task]
    (name,) = [key for key in row if key.startswith("acc,")]
    credits = [sample["acc"] for sample in samples]
    mean = sum(credits) / len(credits)
    close(row[name], mean)
    if len(credits) > 1:
        sd = math.sqrt(sum((c - mean) ** 2 for c in credits) / (len(credits) - 1))
        close(row[name.replace("acc,", "acc_stderr,")], sd / math.sqrt(len(credits)))
    assert results["n-samples"][task]["effective"] == len(samples)
    whole = ""
    for index, sample in enumerate(samples):
        assert sample["doc_id"] == index
        dumped = json.dumps(sample["doc"], indent=2, ensure_ascii=False)
        assert sample["doc_hash"] == utils.hash_string(dumped), index
        assert sample["prompt_hash"] == utils.hash_string(sample["arguments"]["gen_args_0"]["arg_0"]), index
        assert sample["target_hash"] == utils.hash_string(sample["target"]), index
        whole += sample["doc_hash"] + sample["prompt_hash"] + sample["target_hash"]
        picked_right = sample["filtered_resps"][0] == sample["target"]
        assert sample["acc"] in (0.0, 1.0) and (not sample["acc"] or picked_right), index
    assert results["task_hashes"][task] == utils.hash_string(whole)
    assert results["model_name_sanitized"] == utils.sanitize_model_name(results["model_name"])
    print(utils.make_table(results))
    print(f"lm-eval: {len(samples)} samples of {task} read, every hash and number recomputed")
    return 1


def inspect_folder(folder):
    from inspect_ai.log import read_eval_log

    read = 0
    for path in sorted(Path(folder).glob("*.json")):
        if path.name.startswith("results_"):
            continue
        log = read_eval_log(str(path))
        assert log.version == 2 and log.status == "success"
        (score,) = log.results.scores
        values = [s.scores[score.scorer].value if s.scores else "I" for s in log.samples]
        assert len(values) == log.results.total_samples == log.eval.dataset.samples
        assert [s.id for s in log.samples] == log.eval.dataset.sample_ids
        close(score.metrics["accuracy"].value, sum(v == "C" for v in values) / len(values))
        errored = sum(s.error is not None for s in log.samples)
        assert (score.scored_samples, score.unscored_samples) == (len(values) - errored, errored)
        for sample in log.samples:
            if sample.scores and sample.scores[score.scorer].value == "C":
                assert sample.scores[score.scorer].answer == sample.target, sample.id
        print(f"inspect: {len(values)} samples of {log.eval.task} read, accuracy recomputed")
        read += 1
    return read


def main():
    if len(sys.argv) < 2:
        print("no folder named: nothing to read")
        return
    read = sum(lm_eval_folder(folder) + inspect_folder(folder) for folder in sys.argv[1:])
    if not read:
        sys.exit("found no exported run")


if __name__ == "__main__":
    main()
