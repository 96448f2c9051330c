"""Makes golden/replies/published_rules.jsonl: what the published rules themselves read.

Runs the reading code of each source on the replies of golden/replies/extractor_matrix.toml and on
varied further ones (seed 20230407), and writes what it picked. Nothing of that code is copied:
functions are taken from checkouts at the commits below and executed with stubs for what they
import but do not use here.

    python golden/make/reading_rules.py [CLONES]

CLONES holds git directories named as below (links will do); without it they are cloned from GitHub.

Pinned: Python 3.11, lm_eval 0.4.13, the inspect_ai version written into the file's first line, and
  kbressem/medAlpaca 05fa7d5       eval/eval_usmle.py
  Teddy-XiongGZ/MIRAGE 392943a     src/utils.py, the split of src/evaluate.py
  open-compass/opencompass a5acc4b opencompass/utils/text_postprocessors.py
  epfLLM/meditron a7c7cda          evaluation/evaluate.py
  openai/simple-evals ee3b031      common.py, as gpqa_eval.py uses it
  TIGER-AI-Lab/MMLU-Pro f418b11    compute_accuracy.py, level 1
HELM's rule is one dictionary look-up of the stripped reply and the notebook's one `startswith`;
both are written out below.
"""

import ast
import json
import pathlib
import random
import re
import statistics
import string
import subprocess
import sys
import tempfile
import tomllib
import types

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "golden/replies/published_rules.jsonl"
MATRIX = ROOT / "golden/replies/extractor_matrix.toml"
TEXTS = ["Aspirin", "Penicillin", "Ceftriaxone", "Doxycycline", "Erythromycin", "Furosemide",
         "Gentamicin", "Heparin", "Insulin", "Jantoven"]


CLONED = {"medAlpaca": "kbressem", "MIRAGE": "Teddy-XiongGZ", "opencompass": "open-compass",
          "meditron": "epfLLM", "simple-evals": "openai", "MMLU-Pro": "TIGER-AI-Lab"}


def clone(folder):
    for name, owner in CLONED.items():
        url = f"https://github.com/{owner}/{name}"
        subprocess.run(["git", "clone", "--quiet", "--bare", url, str(folder / name)], check=True)


def source(clones, name, commit, path):
    command = ["git", "-C", str(clones / name), "show", f"{commit}:{path}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def functions(text, names, **scope):
    """The named functions and constants of a module, executed without its other statements."""
    def wanted(node):
        if isinstance(node, ast.FunctionDef):
            return node.name in names
        return isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) in names
    tree = ast.parse(text)
    tree.body = [node for node in tree.body if wanted(node)]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            node.decorator_list = []
    exec(compile(tree, "source", "exec"), scope)
    return [scope[name] for name in names]


def rules(clones):
    strip, accepts = functions(
        source(clones, "medAlpaca", "05fa7d5", "eval/eval_usmle.py"),
        ["strip_special_chars", "starts_with_capital_letter"], re=re, string=string)

    def medalpaca(reply, letters):
        reply = strip(reply.strip())
        return reply[0] if accepts(reply) else None

    def startswith(reply, letters):
        return reply.strip()[:1] or None

    [locate] = functions(source(clones, "MIRAGE", "392943a", "src/utils.py"),
                         ["locate_answer"], re=re)

    def mirage(reply, letters):
        return statistics.mode([locate(reply.split('"answer_choice": "')[-1].strip())])

    evaluate, *_ = functions(
        source(clones, "meditron", "a7c7cda", "evaluation/evaluate.py"),
        ["eval", "clean_mcq_answer", "clean_answer", "clean_double_answer"], re=re)

    def meditron(reply, letters):
        correct, picked, _ = evaluate(reply.lower(), "a")
        return None if correct == 2 and not isinstance(correct, bool) else picked.upper()

    [first_option] = functions(
        source(clones, "opencompass", "a5acc4b", "opencompass/utils/text_postprocessors.py"),
        ["first_option_postprocess"], re=re)

    def opencompass(reply, letters):
        return first_option(reply, letters) or None

    [pattern] = functions(source(clones, "simple-evals", "ee3b031", "common.py"),
                          ["ANSWER_PATTERN_MULTICHOICE"])

    def simple_evals(reply, letters):
        found = re.search(pattern, reply)
        return found.group(1) if found else None

    [extract] = functions(source(clones, "MMLU-Pro", "f418b11", "compute_accuracy.py"),
                          ["extract_answer"], re=re)

    def mmlu_pro(reply, letters):
        return extract(reply, "l1")

    from inspect_ai.solver._multiple_choice import parse_answers

    def inspect(reply, letters):
        state = types.SimpleNamespace(
            output=types.SimpleNamespace(completion=reply), choices=list(letters))
        return next(iter(parse_answers(state, False)), None)

    import lm_eval
    import lm_eval.filters  # registers them
    import yaml
    from lm_eval.api.metrics import exact_match_fn
    from lm_eval.api.registry import get_filter
    task = pathlib.Path(lm_eval.__file__).parent / "tasks/mmlu/generative/_default_template_yaml"
    task = yaml.safe_load(task.read_text())
    metric = {k: v for k, v in task["metric_list"][0].items() if k.startswith("ignore_")}
    chain = []
    for spec in task["filter_list"][0]["filter"]:
        spec = dict(spec)
        chain.append(get_filter(spec.pop("function"))(**spec))

    def lm_eval_generative(reply, letters):
        replies = [[reply]]
        for step in chain:
            replies = list(step.apply(replies, [{}]))
        for letter in letters:
            score = exact_match_fn(predictions=[replies[0]], references=[letter], **metric)
            if score["exact_match"] == 1.0:
                return letter
        return None

    def helm_joint(reply, letters):
        return {letter: letter for letter in letters}.get(reply.strip())

    return {"medalpaca": medalpaca, "startswith": startswith, "mirage": mirage,
            "meditron": meditron, "opencompass": opencompass, "simple-evals": simple_evals,
            "inspect": inspect, "lm-eval-generative": lm_eval_generative,
            "helm-joint": helm_joint, "mmlu-pro": mmlu_pro}


TEMPLATES = [
    "{x}", " {x}", "{x}.", "{x}:", "{x} ", "({x})", "({x}).", "[{x}]", "**{x}**", "**{x}.**", "`{x}`", "{l}", "{l}.",
    "({l}) {t}", "{x}: {t}", "{x}. {t}", "{x}) {t}", "({x}) {t}", "{x} {t}", "{x}:{t}", "{x}.{t}", "{x} - {t}",
    "{x}: {t}\n{y}: {u}", "{x}. {t}\n\nExplanation: {u} is given for other reasons.", "\n{x}: {t}", "\n\n {x}. {t}",
    "{x}: \n{t}", "{x} \n", "{x}  {t}", "{x}, {t}", "{x}/{y}", "{x} or {y}", "{x} and {y}", "{x}\" }}",
    "Answer: {x}", "answer: {x}", "ANSWER: {x}", "ANSWER: {l}", "Answer : {x}", "Answer:{x}", "Answer: ({x})",
    "Answer: {x}.", "Answer: {x}, because {t}.", "Answer: {x} {t}", "Answer: **{x}**", "**Answer:** {x}", "**Answer: {x}**",
    "Answer: ${x}$", "Answer: $\\boxed{{{x}}}$", "ANSWER: {x} or {y}", "ANSWER: {x},{y}", "ANSWER: {x},", "ANSWER: ,{x}",
    "ANSWER:\n{x}", "ANSWER: {x}\n", "ANSWER: {x}\r\n", "ANSWER:\t{x}", "My ANSWER: {x}", "  ANSWER: {x}",
    "ANSWER: {x}\nANSWER: {y}", "Answer: {x}\nNo wait. Answer: {y}", "No. ANSWER: {x}; rather ANSWER: {y}!",
    "ANSWER: the {x}", "ANSWER: {t}", "ANSWER: 1", "ANSWER: {x}1", "ANSWER: ( {x} )", "ANSWER: ({x}),", "ANSWER:({x})\n",
    "The answer is {x}", "The answer is {x}.", "The answer is ({x}).", "the answer is: {x}", "The answer is:\n{x}",
    "The answer is **{x}**", "The answer is **({x})**", "The answer is {l}.", "The answer is {x}: {t}", "The answer is {t}.",
    "The answer is {t}, option {x}", "The answer is option {x}", "The answer is not {x}. The answer is ({y})",
    "The correct answer is {x}", "The correct answer is ({x}) {t}", "The correct answer is option {x}.",
    "The correct answer is: \\boxed{{{x}}}", "The correct option is $\\boxed{{{x}}}$ since {u} fails",
    "The correct answer option is\n\\boxed{{{x}}}", "The answer to the question is: {x}", "The answer to the question is ({x}): {t}",
    "So the answer is therefore option {x}, not {y}", "Option {x}", "option {x} is right", "I choose option {x}: {t}",
    "Choice {x}", "I think it is {x}", "I think {x} or maybe {y}", "I would go with ({x})", "It must be {x}!", "A {t} is best",
    "A 45-year-old man needs {t}.", "An answer: {x}", "{t}", "{t}.", "{t} ({x})", "{t}: {x}", "{u} is wrong, hence {x}",
    "{x} is wrong; {y} is right", "Neither {x} nor {y}", "{x}\n{y}", "{x}{y}", "{x}, {y}", "{x}; {y}", "{x} {y}",
    "Based on the history, the best choice is {x}", "Step 1. {u} is excluded.\nStep 2. {t} fits.\nThe answer is ({x}).",
    "Let's think step by step. {u} is an option. The answer is ({x}).\n\nQuestion:\nNext?\nThe answer is ({y}).",
    "1. {t}", "1) {x}", "1.{x}", "11 {l} nothing", "1", "21", "Within 1 hour {t}", "10 mg of {t} and 5 mg of {u}",
    "{{\"step_by_step_thinking\": \"{t} fits.\", \"answer_choice\": \"{x}\"}}",
    "{{\"step_by_step_thinking\": \"Option {y} fits.\", \"answer_choice\": \"{x}. {t}\"}}",
    "{{\"step_by_step_thinking\": \"…\", \"answer_choice\": \"{t}\"}}", "{{\"answer_choice\": \"{x} and {y}\"}}",
    "{{\"answer_choice\": \"None: {x}\"}}", "{{\"answer_choice\": \"\"}}", "{{\"answer_choice\": \"{x}",
    "## Answer\n{x}", "text\n## {x}: {t}\nmore", "\n##{x}", "###\n{x}", "\n\n## Reason\n{y}\n## Answer\n{x}",
    "答案是{x}", "答案是 {x}。", "答案：{x}", "正确答案为{x}", "答案选{x}", "选{x}", "故选{x}", "故选{x}只有选项{y}是对的", "只有{x}正确",
    "只有选项{x}错误", "说法错误的是{x}", "{x}是正确的", "选项{x}正确", "所以{x}。", "因此{x}", "显然{x}。", "答案应该是{t}", "答案为{x}{y}。",
    "选项{x}", "{x}选项", "答案选项为 **{x}**", "答案选项是: {x}", "，故{x}。", "这是{x}", "说法不正确的是{x}", "所以答{x}",
    "\u3000{x}: {t}", "\u00a0{x}. {t}", "\u200b{x}: {t}", "\ufeff{x}", "\x1c{x}: {t}", "{x}\x1f", "{x}\u2028{t}", "\u2029{x}.",
    "Ä{x}: {t}", "{x}\u0301: {t}", "\uff21: {t}", "\U0001d400: {t}", "Ω{x}", "ß {x}", "Анкета: {x}", "{x}：{t}", "（{x}）{t}",
    "an\u017fwer: {x}", "AN\u017fWER: {x}", "ANSWER: \u212a", "ANSWER: \u0131", "answer: \u0661", "İ {x}", "ǅ {x}",
    "¿{x}?", "“{x}”", "‘{x}: {t}’", "«{x}» {t}", "…{x}", "{x}…", "{x}!", "{x}?", "--{x}--", "#{x}", "{x}#", "_{x}_", "*{x}*",
    "<b>{x}</b>", "</s>{x}", "{x}</s>", "{x}: {t}</s>", "{x} </s>", "<s> {x}. {t}", "{x}: {t}<|im_end|>", "\\({x}\\)",
    "", " ", "\n", "\t\n ", ".", "...", "?", "0", "7", "-", "\\boxed{{{x}}}", "$\\boxed{{\\text{{{x}}}}}$", "$ {x} $", "** {x} **",
    "$${x}$$", "**{x}, {y}**", "$ {x} , {y} $ANSWER: {x}", "***{x}***", "ANSWER: $ {x} $.", "ANSWER: **{x}** .", "final:({x}) .",
    "Yes", "No", "None", "None of the above", "N", "I don't know", "As an AI language model, I cannot answer.", "Unsure: {x}?",
    "E", "F: {t}", "J", "K: {t}", "Z. {t}", "a", "b: {t}", "e)", "x", "Ab: {t}", "BB", "AA: {t}", "A.B.C.", "A:B:C", "D1: {t}",
    "{x}\0", "{x}.\0", "\0{x}", "( {x} )", "{x} .", "{x}\\n", "{x}\n\n\n\n", "\r{x}\r", "{x}\r\n{t}", "{x}\v{t}", "\f{x}",
]


def generated(random_state):
    def fill(template, letters):
        x, y = random_state.sample(letters, 2)
        return template.format(x=x, y=y, l=x.lower(), t=TEXTS[ord(x) - 65], u=TEXTS[ord(y) - 65])
    for template in TEMPLATES:
        letters = "ABCDEFGHIJ"[:random_state.choice([3, 4, 4, 5, 5, 5, 6, 8, 10])]
        yield letters, fill(template, letters)
    pieces = ["The answer is ", "Answer: ", "ANSWER: ", "\nANSWER: ", "ANSWER: ({x})", "option ", "correct answer is ", "**", "(", ")", ". ", ": ", "\n", " ",
              "{x}", "{y}", "{l}", "{t}", "{u}", "$", ", ", "1. ", "answer is (", "boxed{{{x}}}", "I think ", "not ", "\n## "]
    for _ in range(300):
        letters = "ABCDEFGHIJ"[:random_state.choice([4, 5, 5, 10])]
        template = "".join(random_state.choices(pieces, k=random_state.randint(2, 7)))
        yield letters, fill(template, letters)


def main():
    import inspect_ai
    import lm_eval
    if len(sys.argv) > 1:
        picks = rules(pathlib.Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            clone(pathlib.Path(folder))
            picks = rules(pathlib.Path(folder))
    matrix = tomllib.loads(MATRIX.read_text())
    replies = [("ABCDE", row["reply"]) for row in matrix["row"]]
    replies += list(generated(random.Random(20230407)))
    made = {"made_by": "golden/make/reading_rules.py", "inspect_ai": inspect_ai.__version__,
            "lm_eval": lm_eval.__version__, "seed": 20230407}
    lines = [json.dumps(made)]
    for letters, reply in dict.fromkeys(replies):
        read = {name: rule(reply, letters) for name, rule in picks.items()}
        row = {"letters": letters, "reply": reply, "picked": read}
        lines.append(json.dumps(row, ensure_ascii=False))
    OUT.write_text("\n".join(lines) + "\n")
    print(f"{len(lines) - 1} replies, {len(picks)} rules -> {OUT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
