"use strict";

// All text that comes from data is put in with textContent: an id may hold any character.
const $ = (id) => document.getElementById(id);
const words = { leave_out: "leave out", keep: "keep", turn: "turn round", unsure: "unsure" };
let all = [];
let shown = [];
let place = 0;
let classes = [];
let disputed = new Set();
const undo = [];
const cards = new Map();
const pictures = new Map();

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
    let said = body;
    try {
      const { error, hint } = JSON.parse(body);
      said = hint ? `${error}\n${hint}` : error;
    } catch { /* the answer is plain text */ }
    throw new Error(said);
  }
  return JSON.parse(body);
}

const word = (decision) => words[decision] || decision.replace("relabel:", "class ");
const query = (name, value) => `${name}=${encodeURIComponent(value)}`;

function cardOf(id) {
  if (!cards.has(id)) {
    const asked = ask(`/card?${query("id", id)}`);
    asked.catch(() => cards.delete(id));
    cards.set(id, asked);
  }
  return cards.get(id);
}

function pictureOf(item) {
  if (!pictures.has(item)) {
    const asked = ask(`/spectrogram?${query("item", item)}`);
    asked.catch(() => pictures.delete(item));
    pictures.set(item, asked);
  }
  return pictures.get(item);
}

// dark blue over magenta to yellow, by level
function colour(level) {
  const x = level / 255;
  return [255 * Math.min(1, 1.6 * x), 255 * Math.max(0, x * x * 1.1 - 0.1), 255 * Math.max(0, 0.35 + 0.5 * Math.sin(3.4 * x) - 0.55 * x * x)];
}

function paint(canvas, drawn) {
  canvas.width = drawn.columns;
  canvas.height = drawn.rows;
  const bytes = Uint8Array.from(atob(drawn.levels), (letter) => letter.charCodeAt(0));
  const context = canvas.getContext("2d");
  const image = context.createImageData(drawn.columns, drawn.rows);
  bytes.forEach((level, k) => image.data.set([...colour(level), 255], 4 * k));
  context.putImageData(image, 0, 0);
  canvas.setAttribute("aria-label", `Spectrogram, ${drawn.seconds.toFixed(2)} seconds, 0 to ${Math.round(drawn.highest)} hertz`);
}

function paintStrip(canvas, strip) {
  const values = [...strip.others, strip.score];
  const low = Math.min(...values);
  const range = Math.max(...values) - low || 1;
  // computed colours follow light and dark; a canvas cannot read variables
  const { color, caretColor } = getComputedStyle(canvas);
  const context = canvas.getContext("2d");
  canvas.width = 600;
  canvas.height = 44;
  const mark = (value, top, width, ink) => {
    context.fillStyle = ink;
    context.fillRect(8 + (584 * (value - low)) / range - width / 2, top, width, 44 - 2 * top);
  };
  for (const value of strip.others) mark(value, 12, 2, caretColor);
  mark(strip.score, 2, 6, color);
}

function itemView(item, card, side) {
  const box = element("section", { className: "item" });
  box.append(element("h3", { textContent: item.id }));
  if (item.label) box.append(element("p", { className: "dim", textContent: item.label }));
  if (item.text) box.append(element("p", { className: "text", textContent: item.text }));
  if (item.picture) box.append(element("img", { src: `/picture?${query("item", item.id)}`, alt: item.id }));
  if (item.sound) {
    const canvas = element("canvas", { className: "spectrogram" });
    canvas.setAttribute("role", "img");
    pictureOf(item.id).then((drawn) => paint(canvas, drawn)).catch((error) => say(error.message));
    const player = element("audio", { controls: true, preload: "metadata", src: `/sound?${query("item", item.id)}` });
    player.dataset.side = side;
    player.addEventListener("error", () => say(`${item.id}: the sound cannot be played`));
    box.append(canvas, player);
  }
  const strip = (card.strips || {})[item.id];
  if (strip) {
    const canvas = element("canvas", { className: "strip" });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Score ${strip.score.toPrecision(4)} among ${strip.others.length} other items of its class`);
    canvas.dataset.item = item.id;
    box.append(element("p", { className: "dim", textContent: "score among the other items of its class" }), canvas);
  }
  const others = (card.comparisons || {})[item.id] || [];
  if (others.length) {
    const list = element("details", {}, element("summary", { textContent: others.length === 1 ? "1 other comparison" : `${others.length} other comparisons` }));
    for (const [id, text] of others) list.append(element("p", { className: "dim", textContent: text, title: id }));
    box.append(list);
  }
  return box;
}

function table(title, rows) {
  const body = element("tbody");
  for (const [name, value] of rows) {
    body.append(element("tr", {}, element("td", { textContent: name }), element("td", { className: "number", textContent: value })));
  }
  return element("section", {}, element("h3", { textContent: title }), element("table", {}, body));
}

const figure = (value) => (typeof value === "number" ? Number(value.toPrecision(4)).toString() : value);

async function show(id) {
  const suspect = shown[place];
  if (!suspect) {
    $("where").textContent = "No suspect is left under these filters.";
    $("claim").textContent = "";
    $("items").replaceChildren();
    $("evidence").replaceChildren();
    return;
  }
  let card;
  try {
    card = await cardOf(suspect.id);
  } catch (error) {
    say(error.message);
    return;
  }
  if (shown[place] !== suspect) return;
  $("where").textContent = `${place + 1} of ${shown.length}${suspect.annotator ? `, by ${suspect.annotator}` : ""}`;
  $("claim").textContent = card.claim;
  $("items").replaceChildren(...card.items.map((item, k) => itemView(item, card, k + 1)));
  for (const canvas of $("items").querySelectorAll("canvas.strip")) paintStrip(canvas, card.strips[canvas.dataset.item]);
  const evidence = [table("Why it is suspected", card.reasons.map(([name, value]) => [name, figure(value)]))];
  if ((card.losses || []).length) evidence.push(table("Its loss at each checkpoint", card.losses.map(([name, value]) => [name, figure(value)])));
  if ((card.hurts || []).length) evidence.push(table("Held-out pairs that it hurts most", card.hurts.map(([name, value]) => [name, figure(value)])));
  if (suspect.others.length) evidence.push(table("Decided by others", suspect.others.map(([who, decision]) => [who, word(decision)])));
  $("evidence").replaceChildren(...evidence);
  $("note").value = suspect.note;
  $("choices").hidden = true;
  for (const button of document.querySelectorAll("[data-decision]")) {
    button.setAttribute("aria-pressed", String(button.dataset.decision === suspect.decision));
  }
  for (const row of $("rows").querySelectorAll("[aria-current]")) row.removeAttribute("aria-current");
  const row = $("rows").querySelector(`[data-place="${place}"]`);
  if (row) row.setAttribute("aria-current", "true");
  document.body.dataset.suspect = suspect.id;
  for (const ahead of [1, 2]) {
    const next = shown[place + ahead];
    if (next) cardOf(next.id).then((said) => said.items.filter((item) => item.sound).forEach((item) => pictureOf(item.id).catch(() => {}))).catch(() => {});
  }
}

function tell(expectation) {
  const decided = all.filter((suspect) => suspect.decision).length;
  $("progress").textContent = `${decided} of ${all.length} decided`;
  $("bar").setAttribute("aria-valuemax", all.length);
  $("bar").setAttribute("aria-valuenow", decided);
  $("bar-done").style.width = `${(100 * decided) / Math.max(1, all.length)}%`;
  if (expectation !== undefined) $("expectation").textContent = expectation;
}

function stateOf(row, suspect) {
  row.lastChild.textContent = suspect.decision ? word(suspect.decision) : disputed.has(suspect.id) ? "disputed" : "";
}

function fillList() {
  const rows = shown.map((suspect, k) => {
    const button = element("button", {}, element("span", { textContent: suspect.id }), element("span", { className: "state" }));
    button.dataset.place = k;
    stateOf(button, suspect);
    return element("li", {}, button);
  });
  $("rows").replaceChildren(...rows);
}

function filter(keep) {
  const state = $("filter-state").value;
  const label = $("filter-label").value;
  const annotator = $("filter-annotator").value;
  shown = all.filter((suspect) =>
    (!state || (state === "disputed" ? disputed.has(suspect.id) : Boolean(suspect.decision) === (state === "decided"))) &&
    (!label || suspect.label === label) && (!annotator || suspect.annotator === annotator));
  place = Math.max(0, shown.findIndex((suspect) => suspect.id === keep));
  if (!$("list").hidden) fillList();
  show();
}

function go(step) {
  place = Math.min(Math.max(0, place + step), Math.max(0, shown.length - 1));
  show();
}

async function send(changes, note) {
  say("");
  const asked = Object.fromEntries(changes.map(([id, decision]) => [id, decision]));
  const answer = await ask("/decide", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ decisions: asked, note }) });
  const byId = new Map(changes);
  for (const suspect of all) {
    if (byId.has(suspect.id)) Object.assign(suspect, { decision: byId.get(suspect.id), note: byId.get(suspect.id) ? note : "" });
  }
  for (const row of $("rows").querySelectorAll("button")) stateOf(row, shown[row.dataset.place]);
  tell(answer.expectation);
}

async function decide(ids, decision) {
  const byId = new Map(all.map((suspect) => [suspect.id, suspect]));
  const before = ids.map((id) => [id, byId.has(id) ? byId.get(id).decision : "", byId.has(id) ? byId.get(id).note : ""]);
  const at = place;
  try {
    await send(ids.map((id) => [id, decision]), $("note").value);
    undo.push([before, shown[at] && shown[at].id]);
    if (place === at) go(1);
    if (place === at) show();
  } catch (error) {
    say(error.message);
  }
}

async function takeBack() {
  const last = undo.pop();
  if (!last) {
    say("There is nothing to undo since this page was opened.");
    return;
  }
  const [before, id] = last;
  try {
    await send(before.map(([name, decision]) => [name, decision]), before[0][2]);
    const back = shown.findIndex((suspect) => suspect.id === id);
    if (back >= 0) place = back;
    show();
  } catch (error) {
    undo.push(last);
    say(error.message);
  }
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
  if (!classes.length) {
    say("These items have no classes.");
    return;
  }
  const options = suspect.items.flatMap((item) => classes.map((name) => [`${item}: ${name}`, () => decide([item], `relabel:${name}`)]));
  choose("New class:", options);
}

function ofItem() {
  const suspect = shown[place];
  if (!suspect) return;
  const options = suspect.items.flatMap((item) => {
    const ids = all.filter((other) => other.items.includes(item) && !other.decision).map((other) => other.id);
    return ["leave_out", "keep", "turn"].map((decision) => [`${word(decision)} all ${ids.length} undecided of ${item}`, () => decide(ids, decision)]);
  });
  choose("All suspects of an item:", options);
}

function play(side) {
  const players = [...document.querySelectorAll("audio")];
  for (const player of players) {
    if (player.dataset.side === String(side) && player.paused) player.play().catch((error) => say(error.message));
    else player.pause();
  }
}

function toggle(button, section) {
  $(section).hidden = !$(section).hidden;
  $(button).setAttribute("aria-expanded", String(!$(section).hidden));
  if (section === "list" && !$("list").hidden) fillList();
}

const keys = {
  l: () => decide([shown[place].id], "leave_out"),
  k: () => decide([shown[place].id], "keep"),
  t: () => decide([shown[place].id], "turn"),
  u: () => decide([shown[place].id], "unsure"),
  r: relabel, z: takeBack, n: () => go(1), p: () => go(-1),
  ArrowRight: () => go(1), ArrowLeft: () => go(-1),
  1: () => play(1), 2: () => play(2), a: ofItem,
  i: () => toggle("show-list", "list"), "?": () => toggle("show-keys", "keys"),
};

document.addEventListener("keydown", (event) => {
  const typing = ["INPUT", "SELECT", "TEXTAREA", "AUDIO"].includes(event.target.tagName);
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const run = keys[event.key];
  if (run && (shown[place] || "zi?".includes(event.key))) {
    event.preventDefault();
    run();
  }
});

async function begin() {
  for (const button of document.querySelectorAll("[data-decision]")) {
    button.addEventListener("click", () => shown[place] && decide([shown[place].id], button.dataset.decision));
  }
  $("relabel").addEventListener("click", relabel);
  $("undo").addEventListener("click", takeBack);
  $("previous").addEventListener("click", () => go(-1));
  $("next").addEventListener("click", () => go(1));
  $("show-list").addEventListener("click", () => toggle("show-list", "list"));
  $("show-keys").addEventListener("click", () => toggle("show-keys", "keys"));
  $("rows").addEventListener("click", (event) => {
    const row = event.target.closest("button");
    if (row) { place = Number(row.dataset.place); show(); }
  });
  for (const id of ["filter-state", "filter-label", "filter-annotator"]) {
    $(id).addEventListener("change", () => filter(shown[place] && shown[place].id));
  }
  let said;
  try {
    said = await ask("/suspects");
  } catch (error) {
    say(error.message);
    return;
  }
  all = said.suspects;
  classes = said.classes;
  disputed = new Set(said.disputed);
  $("title").textContent = said.title;
  document.title = `tracinctl review: ${said.title}`;
  for (const [id, values] of [["filter-label", all.map((s) => s.label)], ["filter-annotator", all.map((s) => s.annotator)]]) {
    for (const value of [...new Set(values)].filter(Boolean).sort()) $(id).append(element("option", { value, textContent: value }));
  }
  $("annotators").hidden = !all.some((suspect) => suspect.annotator);
  tell(said.expectation);
  const first = all.findIndex((suspect) => !suspect.decision);
  filter(all[Math.max(0, first)] && all[Math.max(0, first)].id);
}

begin();
