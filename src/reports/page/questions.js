/* Questions, attempts, readings and differences, drawn from the data island a page at a time.
   Replies are other people's text: only ever set as textContent. */

(() => {
  const island = document.getElementById("data");
  if (!island) return;
  const data = JSON.parse(island.textContent);
  const PAGE = 25;
  const NAMES = { c: "correct", w: "wrong", u: "unparsed", e: "errored", x: "excluded", n: "not_run" };
  const SIGNS = { c: "✓", w: "✗", u: "?", e: "!", x: "–", n: "·" };
  const byId = (id) => document.getElementById(id);

  const make = (tag, properties = {}, ...children) => {
    const element = document.createElement(tag);
    const { dataset, ...rest } = properties;
    Object.assign(element, rest);
    Object.assign(element.dataset, dataset ?? {});
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  };
  const chip = (code, text) =>
    make("span", { className: `chip o-${NAMES[code]}` }, `${SIGNS[code]} ${text ?? NAMES[code].replace("_", " ")}`);
  const option = (value, text) => make("option", { value }, text);

  /* What a run made of one question: fate, attempts, and the letter that counted. */
  const row = (run, index) => {
    const [fate, attempts] = run.rows[index];
    const last = attempts.length ? attempts[attempts.length - 1] : null;
    return { fate, attempts, last };
  };
  const letterOf = ({ last }) => (last && last.letter) || "–";
  const disagrees = ({ last }) => last !== null && new Set(last.rules.toUpperCase()).size > 1;

  const rulesOf = (attempt, answer) => {
    const list = make("ul", { className: "rules" });
    data.rules.forEach((rule, index) => {
      const code = attempt.rules[index];
      if (code === undefined) return;
      const letter = code.toUpperCase();
      const reads = code === "-" ? "reads nothing" : code === letter ? `reads ${letter}` : `reads nothing, falls back to ${letter}`;
      const right = code !== "-" && letter === answer;
      list.append(make("li", { className: code === "-" ? "none" : right ? "o-correct" : "o-wrong", title: `${rule} ${reads}` },
        `${rule} `, make("b", {}, code === "-" ? "–" : code === letter ? letter : `${letter} by default`)));
    });
    return list;
  };

  const attemptView = (attempt, number, answer) => {
    const facts = [`attempt ${number}`, attempt.reason && attempt.reason.replaceAll("_", " "),
      attempt.finish && `ended by ${attempt.finish.replaceAll("_", " ")}`, attempt.tokens && `${attempt.tokens} tokens`];
    const view = make("div", { className: "attempt" },
      make("div", { className: "small muted" }, chip(attempt.outcome), ` ${facts.filter(Boolean).join(" · ")}`));
    if (attempt.error) view.append(make("p", { className: "note" }, attempt.error));
    if (attempt.scores) {
      view.append(make("table", {}, make("caption", {}, "Log-likelihood of each option"),
        ...attempt.scores.map(([letter, logProb, tokens]) => make("tr", {},
          make("th", { scope: "row" }, letter), make("td", { className: "n" }, logProb.toFixed(4)),
          make("td", { className: "n" }, `${tokens} tokens`)))));
    } else if (!attempt.error) {
      view.append(make("pre", {}, attempt.text === "" ? "(empty reply)" : attempt.text), rulesOf(attempt, answer));
    }
    return view;
  };

  const questionBody = (question, views) => {
    const options = make("ol", { className: "options" });
    for (const [letter, text] of question.options) {
      const right = letter === question.answer;
      options.append(make("li", { className: right ? "right" : "" }, make("b", {}, letter), text,
        right ? make("span", { className: "muted small" }, "right answer") : null));
    }
    const left = make("div", {}, make("p", { className: "stem" }, question.text), options);
    const right = make("div");
    for (const { label, view, why } of views) {
      if (label) right.append(make("h3", {}, label));
      if (!view.attempts.length) right.append(make("p", { className: "muted" }, why ? `Not asked: ${why}.` : "Not asked."));
      view.attempts.forEach((attempt, index) => right.append(attemptView(attempt, index + 1, question.answer)));
    }
    return make("div", { className: "body" }, left, right);
  };

  const questionItem = (question, cells, views) => {
    const item = make("details", { className: "question", dataset: { question: question.id } });
    item.append(make("summary", {}, make("span", { className: "mono" }, question.id), ...cells,
      make("span", { className: "clip" }, question.text.slice(0, 220))));
    item.addEventListener("toggle", () => { if (item.open && item.children.length === 1) item.append(questionBody(question, views())); });
    return item;
  };

  /* A list shown a page at a time. */
  const pager = (place, draw) => {
    const list = make("div");
    const status = make("span", { className: "status", role: "status" });
    const previous = make("button", { type: "button" }, "Previous");
    const next = make("button", { type: "button" }, "Next");
    place.replaceChildren(list, make("div", { className: "pager" }, previous, next, status));
    let items = [], page = 0;
    const show = () => {
      const from = page * PAGE, to = Math.min(items.length, from + PAGE);
      list.replaceChildren(...items.slice(from, to).map(draw));
      status.textContent = items.length ? `${from + 1} to ${to} of ${items.length} questions` : "No question matches.";
      previous.disabled = page === 0;
      next.disabled = to >= items.length;
    };
    previous.addEventListener("click", () => { page -= 1; show(); });
    next.addEventListener("click", () => { page += 1; show(); });
    return (found) => { items = found; page = 0; show(); };
  };

  const segmented = (place, choices, chosen) => {
    place.replaceChildren(...choices.map(([value, text]) =>
      make("button", { type: "button", ariaPressed: String(value === place.dataset.value), dataset: { value } }, text)));
    place.onclick = (event) => {
      const value = event.target.dataset.value;
      if (value === undefined || event.target === place) return;
      place.dataset.value = value;
      for (const button of place.children) button.ariaPressed = String(button.dataset.value === value);
      chosen();
    };
  };

  /* -- every question of one run -- */
  const questions = () => {
    const run = byId("q-run"), step = byId("q-step"), outcome = byId("q-outcome"), words = byId("q-words"), split = byId("q-split");
    run.append(...data.runs.map((each, index) => option(index, each.label)));
    const show = pager(byId("q-list"), (index) => {
      const current = data.runs[run.value];
      const question = data.exams[current.exam].questions[index];
      const view = row(current, index);
      const tries = view.attempts.length > 1 ? ` · ${view.attempts.length} tries` : "";
      return questionItem(question,
        [chip(view.fate), make("span", { className: "small muted" }, `read ${letterOf(view)} · right ${question.answer}${tries}`)],
        () => [{ label: "", view, why: current.why[question.id] }]);
    });
    const filter = () => {
      const current = data.runs[run.value];
      const list = data.exams[current.exam].questions;
      const wanted = words.value.toLowerCase();
      const found = [];
      list.forEach((question, index) => {
        const view = row(current, index);
        if (outcome.dataset.value !== "all" && view.fate !== outcome.dataset.value) return;
        if (step.value !== "all" && question.step !== step.value) return;
        if (split.checked && !disagrees(view)) return;
        if (wanted && ![question.id, question.text, ...view.attempts.map((each) => each.text)]
          .some((text) => text.toLowerCase().includes(wanted))) return;
        found.push(index);
      });
      show(found);
    };
    const changeRun = () => {
      const current = data.runs[run.value];
      const list = data.exams[current.exam].questions;
      const steps = [...new Set(list.map((question) => question.step))].sort();
      step.replaceChildren(option("all", "all"), ...steps.map((each) => option(each, each)));
      const counts = {};
      for (const [fate] of current.rows) counts[fate] = (counts[fate] ?? 0) + 1;
      if (!counts[outcome.dataset.value]) outcome.dataset.value = "all";
      segmented(outcome, [["all", `all ${current.rows.length}`],
        ...Object.keys(NAMES).filter((code) => counts[code]).map((code) => [code, `${NAMES[code].replace("_", " ")} ${counts[code]}`])], filter);
      filter();
    };
    run.addEventListener("change", changeRun);
    for (const control of [step, split]) control.addEventListener("change", filter);
    words.addEventListener("input", filter);
    changeRun();
  };

  /* -- two runs, question by question -- */
  const differences = () => {
    const a = byId("d-a"), b = byId("d-b"), kind = byId("d-kind"), summary = byId("d-summary");
    if (!a) return;
    for (const select of [a, b]) select.append(...data.runs.map((each, index) => option(index, each.label)));
    b.value = data.runs.length > 1 ? 1 : 0;
    const right = (view) => view.fate === "c";
    const asked = (view) => "cwue".includes(view.fate);
    const show = pager(byId("d-list"), (index) => {
      const [first, second] = [data.runs[a.value], data.runs[b.value]];
      const question = data.exams[first.exam].questions[index];
      const [before, after] = [row(first, index), row(second, index)];
      return questionItem(question,
        [make("span", {}, chip(before.fate)), make("span", {}, "→ ", chip(after.fate))],
        () => [{ label: first.label, view: before, why: first.why[question.id] },
          { label: second.label, view: after, why: second.why[question.id] }]);
    });
    const compare = () => {
      const [first, second] = [data.runs[a.value], data.runs[b.value]];
      const found = { lost: [], gained: [], other: [] };
      const comparable = first.exam === second.exam && first !== second;
      if (comparable) {
        data.exams[first.exam].questions.forEach((_, index) => {
          const [before, after] = [row(first, index), row(second, index)];
          if (!asked(before) || !asked(after)) return;
          if (right(before) && !right(after)) found.lost.push(index);
          else if (!right(before) && right(after)) found.gained.push(index);
          else if (before.fate !== after.fate || letterOf(before) !== letterOf(after)) found.other.push(index);
        });
      }
      const flips = [...found.lost, ...found.gained].sort((x, y) => x - y);
      const pair = data.pairs.find((each) => each.a === Number(a.value) && each.b === Number(b.value));
      summary.textContent = first === second ? "Choose two different runs."
        : !comparable ? "These runs asked different exams: not comparable question by question."
        : pair ? pair.words : "";
      const choices = [["flips", `flips ${flips.length}`, flips], ["lost", `right to wrong ${found.lost.length}`, found.lost],
        ["gained", `wrong to right ${found.gained.length}`, found.gained], ["other", `other changes ${found.other.length}`, found.other]];
      const draw = () => show(choices.find(([value]) => value === kind.dataset.value)[2]);
      segmented(kind, choices, draw);
      draw();
    };
    for (const select of [a, b]) select.addEventListener("change", compare);
    compare();
  };

  questions();
  differences();
})();
