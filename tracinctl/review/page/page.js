"use strict";

// Text from data is set with textContent, because an id may have any character. The server escapes cards.
const $ = (id) => document.getElementById(id);
const words = { leave_out: "leave out", keep: "keep", turn: "turn round", unsure: "unsure" };
let by = "pair";
let all = [];
let shown = [];
let place = 0;
let classes = [];
let disputed = new Set();
let relabelled = new Map();
let byId = new Map();
let writing = false;
const tooSoon = "The last decision is still being written. Press the key again.";
const undo = [];
const cards = new Map();

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function say(text) {
  $("message").textContent = text;
  $("message").hidden = !text;
}

async function ask(address, options) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    throw new Error("The review has ended.\nEvery decision so far is saved. Start it again with: tracinctl review");
  }
  const body = await answer.text();
  if (!answer.ok) {
    let message = body;
    try {
      const { error, hint } = JSON.parse(body);
      message = hint ? `${error}\n${hint}` : error;
    } catch { /* the answer is plain text */ }
    throw new Error(message);
  }
  return body;
}

const word = (decision) => words[decision] || decision.replace("relabel:", "class ");

function cardOf(id) {
  if (!cards.has(id)) {
    const card = ask(`/card?id=${encodeURIComponent(id)}`);
    card.catch(() => cards.delete(id));
    cards.set(id, card);
  }
  return cards.get(id);
}

// fetch the pictures of a card before it is shown
async function prepare(id) {
  const html = await cardOf(id);
  for (const image of new DOMParser().parseFromString(html, "text/html").images) new Image().src = image.getAttribute("src");
}

// a new class for one of its items also decides a suspect
function decisionOf(suspect) {
  if (suspect.decision) return suspect.decision;
  const item = suspect.items.find((name) => relabelled.get(name));
  return item === undefined ? "" : `${item}: ${word(relabelled.get(item))}`;
}

const stateOf = (suspect) => [disputed.has(suspect.id) ? "disputed" : "", word(decisionOf(suspect))].filter(Boolean).join(", ");

async function show() {
  const suspect = shown[place];
  mark();
  if (!suspect) {
    $("where").textContent = "No suspects match these filters.";
    $("claim").textContent = "";
    $("card").replaceChildren();
    return;
  }
  let html;
  try {
    html = await cardOf(suspect.id);
  } catch (error) {
    say(error.message);
    return;
  }
  if (shown[place] !== suspect) return;
  const from = suspect.annotator ? `, by ${suspect.annotator}` : "";
  const state = stateOf(suspect);
  $("where").textContent = `${place + 1} of ${shown.length}${from}${state ? `: ${state}` : ""}`;
  $("card").innerHTML = html;
  $("claim").textContent = $("card").firstElementChild.dataset.claim;
  if (document.body.dataset.suspect !== suspect.id) {
    // an unfinished note stays when the same card is shown again
    $("note").value = suspect.note;
    $("choices").hidden = true;
  }
  mark();
  document.body.dataset.suspect = suspect.id;
  for (const ahead of [1, 2]) if (shown[place + ahead]) prepare(shown[place + ahead].id).catch(() => {});
}

// show the state of the suspect on its buttons and in the list
function mark() {
  const suspect = shown[place];
  for (const button of document.querySelectorAll("[data-decision]")) {
    button.setAttribute("aria-pressed", String(Boolean(suspect) && button.dataset.decision === suspect.decision));
  }
  for (const row of $("rows").querySelectorAll("[aria-current]")) row.removeAttribute("aria-current");
  const row = $("rows").querySelector(`[data-place="${place}"]`);
  if (row) row.setAttribute("aria-current", "true");
}

function showProgress(progress) {
  const decided = all.filter((suspect) => decisionOf(suspect)).length;
  $("progress").textContent = `${decided} of ${all.length} decided`;
  $("bar").setAttribute("aria-valuemax", all.length);
  $("bar").setAttribute("aria-valuenow", decided);
  $("bar-done").style.width = `${(100 * decided) / Math.max(1, all.length)}%`;
  if (progress) {
    disputed = new Set(progress.disputed);
    $("expectation").textContent = progress.expectation && `${progress.expectation}.`;
  }
  if (!$("list").hidden) for (const row of $("rows").querySelectorAll("button")) row.lastChild.textContent = stateOf(shown[row.dataset.place]);
}

function fillList() {
  $("rows").replaceChildren(...shown.map((suspect, k) => {
    const button = element("button", {}, element("span", { textContent: suspect.id }), element("span", { className: "state", textContent: stateOf(suspect) }));
    button.dataset.place = k;
    return element("li", {}, button);
  }));
  mark();
}

function filter() {
  const keep = shown[place];
  const state = $("filter-state").value;
  const label = $("filter-class").value;
  const annotator = $("filter-annotator").value;
  shown = all.filter((suspect) =>
    (!state || (state === "disputed" ? disputed.has(suspect.id) : Boolean(decisionOf(suspect)) === (state === "decided"))) &&
    (!label || suspect.classes.includes(label)) && (!annotator || suspect.annotator === annotator));
  place = Math.max(0, shown.indexOf(keep));
  if (!$("list").hidden) fillList();
  show();
}

function go(step) {
  const next = Math.min(Math.max(0, place + step), Math.max(0, shown.length - 1));
  if (next === place) {
    say(step > 0 ? "This is the last one." : "This is the first one.");
    return;
  }
  say("");
  place = next;
  show();
  scrollTo(0, 0);
}

// a change is {id, decision, note}
function remember(changes) {
  for (const { id, decision, note } of changes) {
    const suspect = byId.get(id);
    if (suspect) Object.assign(suspect, { decision, note: decision ? note : "" });
    else if (decision) relabelled.set(id, decision);
    else relabelled.delete(id);
  }
  const ids = new Set(changes.map((change) => change.id));
  for (const suspect of all) if (ids.has(suspect.id) || suspect.items.some((item) => ids.has(item))) cards.delete(suspect.id);
}

// One decision is written at a time and counts when it is on the disk, so whatever ends the server or the page loses at
// most the pressed key. The next suspect is shown meanwhile, and a key that would decide it already is refused.
async function write(changes) {
  if (writing) {
    say(tooSoon);
    return false;
  }
  writing = true;
  try {
    const progress = JSON.parse(await ask("/decide", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ decisions: changes }) }));
    remember(changes);
    showProgress(progress);
    say("");
    return true;
  } catch (error) {
    say(error.message);
    return false;
  } finally {
    writing = false;
  }
}

function before(ids) {
  return ids.map((id) => {
    const suspect = byId.get(id);
    return suspect ? { id, decision: suspect.decision, note: suspect.note } : { id, decision: relabelled.get(id) || "", note: "" };
  });
}

async function decide(ids, decision, step = 1) {
  if (decision === "turn" && by === "item") {
    say("An item cannot be turned round. Leave it out, keep it or relabel it.");
    return;
  }
  if (writing) {
    say(tooSoon);
    return;
  }
  const note = $("note").value;
  const was = before(ids);
  const suspect = shown[place];
  const written = write(ids.map((id) => ({ id, decision, note })));
  if (step && place + step < shown.length) go(step);
  if (await written) undo.push([was, suspect]);
  else place = Math.max(0, shown.indexOf(suspect));
  const now = shown[place];
  if (now && [now.id, ...now.items].some((id) => ids.includes(id))) show();
}

async function takeBack() {
  const last = undo.at(-1);
  if (!last) {
    say("There is nothing to undo since this page was opened.");
    return;
  }
  const [was, suspect] = last;
  if (!await write(was)) return;
  undo.pop();
  const back = shown.indexOf(suspect);
  if (back >= 0) place = back;
  show();
}

function choose(title, options) {
  const buttons = options.map(([text, run]) => {
    const button = element("button", { textContent: text });
    button.addEventListener("click", () => { $("choices").hidden = true; run(); });
    return button;
  });
  const close = element("button", { textContent: "Cancel" });
  close.addEventListener("click", () => { $("choices").hidden = true; });
  $("choices").replaceChildren(element("span", { textContent: title }), ...buttons, close);
  $("choices").hidden = false;
  (buttons[0] || close).focus();
}

function relabel() {
  const suspect = shown[place];
  if (!suspect) return;
  if (!classes.length || !suspect.items.length) {
    say("There are no classes to choose from.");
    return;
  }
  const options = suspect.items.flatMap((item) => classes.map((name) => [`${item}: ${name}`, () => decide([item], `relabel:${name}`)]));
  choose("New class:", options);
}

function ofItem() {
  const suspect = shown[place];
  if (!suspect || by !== "pair") return;
  const options = suspect.items.flatMap((item) => {
    const ids = all.filter((other) => other.items.includes(item) && !other.decision).map((other) => other.id);
    return ["leave_out", "keep", "turn"].map((decision) => [`${word(decision)} all ${ids.length} undecided of ${item}`, () => ids.length && decide(ids, decision)]);
  });
  choose("All suspects of an item:", options);
}

function play(side) {
  for (const player of document.querySelectorAll("audio")) {
    if (player.dataset.side === String(side) && player.paused) player.play().catch((error) => say(error.message));
    else player.pause();
  }
}

function toggle(button, section) {
  $(section).hidden = !$(section).hidden;
  $(button).setAttribute("aria-expanded", String(!$(section).hidden));
  if (section === "list" && !$("list").hidden) fillList();
}

const decideShown = (decision) => () => shown[place] && decide([shown[place].id], decision);
const keys = {
  l: decideShown("leave_out"), k: decideShown("keep"), t: decideShown("turn"), u: decideShown("unsure"),
  r: relabel, z: takeBack, n: () => go(1), p: () => go(-1), ArrowRight: () => go(1), ArrowLeft: () => go(-1),
  1: () => play(1), 2: () => play(2), a: ofItem, o: () => $("note").focus(),
  i: () => toggle("show-list", "list"), "?": () => toggle("show-keys", "keys"),
  Escape: () => { $("choices").hidden = true; },
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === $("note")) {
    if (event.key === "Escape" && shown[place]) $("note").value = shown[place].note;
    if (event.key === "Enter" || event.key === "Escape") $("note").blur();
    return;
  }
  // arrows and digits belong to the focused control
  if (["SELECT", "AUDIO"].includes(event.target.tagName) && (event.key.length > 1 || event.target.tagName === "SELECT")) return;
  if (keys[event.key]) {
    event.preventDefault();
    // a decision key that is held down counts once
    if (event.repeat && "lktuz".includes(event.key)) return;
    keys[event.key]();
  }
});

// write a note that is changed after a decision
$("note").addEventListener("change", () => {
  const suspect = shown[place];
  if (suspect && suspect.decision && $("note").value !== suspect.note) decide([suspect.id], suspect.decision, 0);
});

// errors of pictures and sounds do not bubble, and hide no other message
document.addEventListener("error", (event) => {
  if (!$("message").hidden) return;
  if (event.target.tagName === "AUDIO") say(`${event.target.getAttribute("aria-label")}: cannot be played`);
  if (event.target.tagName === "IMG") say(`${event.target.alt}: cannot be drawn`);
}, true);

async function begin() {
  for (const button of document.querySelectorAll("[data-decision]")) button.addEventListener("click", decideShown(button.dataset.decision));
  $("relabel").addEventListener("click", relabel);
  $("all-of-item").addEventListener("click", ofItem);
  $("undo").addEventListener("click", takeBack);
  $("previous").addEventListener("click", () => go(-1));
  $("next").addEventListener("click", () => go(1));
  $("show-list").addEventListener("click", () => toggle("show-list", "list"));
  $("show-keys").addEventListener("click", () => toggle("show-keys", "keys"));
  $("rows").addEventListener("click", (event) => {
    const row = event.target.closest("button");
    if (row) { place = Number(row.dataset.place); show(); }
  });
  for (const id of ["filter-state", "filter-class", "filter-annotator"]) $(id).addEventListener("change", () => { $(id).blur(); filter(); });
  let review;
  try {
    review = JSON.parse(await ask("/suspects"));
  } catch (error) {
    say(error.message);
    return;
  }
  all = review.suspects;
  by = review.by;
  classes = review.classes;
  byId = new Map(all.map((suspect) => [suspect.id, suspect]));
  relabelled = new Map(Object.entries(review.relabelled));
  $("title").textContent = review.title;
  $("who").textContent = review.who && ` by ${review.who}.`;
  document.title = `tracinctl review: ${review.title}`;
  const used = new Set(all.flatMap((suspect) => suspect.classes));
  const options = [["filter-class", classes.filter((name) => used.has(name))], ["filter-annotator", [...new Set(all.map((suspect) => suspect.annotator))].filter(Boolean).sort()]];
  for (const [id, values] of options) for (const value of values) $(id).append(element("option", { value, textContent: value }));
  $("classes").hidden = !classes.length;
  $("annotators").hidden = !all.some((suspect) => suspect.annotator);
  $("relabel").hidden = !classes.length || !all.some((suspect) => suspect.items.length);
  $("all-of-item").hidden = by !== "pair";
  document.querySelector("[data-decision=turn]").hidden = by === "item";
  showProgress(review);
  shown = all;
  place = Math.max(0, all.findIndex((suspect) => !decisionOf(suspect)));
  show();
}

begin();
