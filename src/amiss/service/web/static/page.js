// The page of the service: images go to /models/NAME/score; scores, p-values and maps come back and are shown.
// Decisions at another false-alarm rate are the service's own (/models/NAME/decision); here scores are only compared
// with the threshold that it gives.

const RATES = [0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5];
const AT_ONCE = 3; // requests
const SMALL = 160; // sides up to so many pixels are enlarged pixel by pixel
const TRIES = 5;

const $ = (id) => document.getElementById(id);
const state = {
  overview: null,
  chosen: [], // names of one or two models
  details: new Map(), // by name
  decisions: new Map(), // by name, at the rate that is set
  rates: RATES,
  images: [],
  shown: null, // the image in the viewer
};

// -- asking the service ------------------------------------------------------------------------------------------------

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let entering = null;

function enterToken() {
  entering ??= new Promise((done) => {
    $("entry-name").textContent = sessionStorage.getItem("token") ? "That was not the token" : "This service asks for a token";
    $("token").value = "";
    $("entry").showModal();
    $("entry").addEventListener("close", () => {
      sessionStorage.setItem("token", $("token").value);
      entering = null;
      done();
    }, { once: true });
  });
  return entering;
}

const seconds = (count) => new Promise((done) => setTimeout(done, 1000 * count));

async function ask(url, options = {}) {
  for (let tries = 1; ; tries++) {
    const token = sessionStorage.getItem("token");
    const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
    let answer;
    try {
      answer = await fetch(url, { ...options, headers });
    } catch {
      throw new Refused(0, "The service cannot be reached.");
    }
    if (answer.ok) return answer.json();
    if (answer.status === 401) {
      await enterToken();
    } else if (answer.status === 429 && tries < TRIES) {
      await seconds(Number(answer.headers.get("Retry-After") ?? 1));
    } else {
      const told = await answer.json().catch(() => ({}));
      throw new Refused(answer.status, told.error ?? `The service answered ${answer.status}.`);
    }
  }
}

function trouble(message) {
  $("trouble").textContent = message;
  $("trouble").hidden = !message;
}

// -- models and rates --------------------------------------------------------------------------------------------------

const percent = (rate) => `${Number((100 * rate).toPrecision(3))} %`;
const number = (value) => value.toLocaleString("en", { maximumSignificantDigits: 4 });
const rate = () => state.rates[Number($("rate").value)];
const modelUrl = (name) => `/models/${encodeURIComponent(name)}`;

async function start() {
  try {
    state.overview = await ask("/models");
  } catch (error) {
    trouble(error.message);
    return;
  }
  const names = state.overview.models.map((model) => model.name);
  for (const name of names) $("first").append(new Option(name, name));
  $("second").append(new Option("nothing", ""));
  for (const name of names) $("second").append(new Option(name, name));
  $("comparing").hidden = names.length < 2;
  const { bytes, pixels, files } = state.overview.limits;
  $("taken").textContent =
    `PNG, JPEG, TIFF, WebP and others, up to ${Math.floor(bytes / 2 ** 20)} MiB and ${number(pixels / 1e6)} megapixels each`;
  $("whole").hidden = !("webkitdirectory" in $("folder"));
  if (state.overview.history) startHistory(names);
  await choose();
}

async function choose() {
  const names = [$("first").value, $("second").value].filter(Boolean);
  state.chosen = [...new Set(names)];
  try {
    for (const name of state.chosen) state.details.set(name, await ask(modelUrl(name)));
  } catch (error) {
    trouble(error.message);
    return;
  }
  const faults = state.chosen.map((name) => state.details.get(name)).filter((model) => model.fault);
  trouble(faults.map((model) => `${model.name}: ${model.fault}; version ${model.version} goes on.`).join(" "));
  const own = state.details.get(state.chosen[0]).decision.false_alarm_rate;
  state.rates = [...new Set([...RATES, own])].sort((a, b) => a - b);
  $("rate").max = state.rates.length - 1;
  $("rate").value = state.rates.indexOf(own);
  $("cards").classList.toggle("two", state.chosen.length > 1);
  showBack();
  if (state.overview.history) showDrift();
  await decide();
  for (const image of state.images) rebuild(image);
  scoreAll();
}

// Back to the version before the one in service.
function showBack() {
  const { name, version, earlier } = state.details.get(state.chosen[0]);
  $("back").hidden = !earlier;
  $("back").textContent = `Back to ${earlier?.slice(0, 7)}`;
  $("back").title = `${name} is version ${version}; put ${earlier} in its place. Nothing is deleted.`;
}

async function goBack() {
  const name = state.chosen[0];
  const { version, earlier } = state.details.get(name);
  if (!confirm(`Put version ${earlier} of ${name} in the place of ${version}? The present one stays on the disk.`)) return;
  $("back").disabled = true;
  try {
    await ask(`${modelUrl(name)}/back`, { method: "POST" });
    for (const image of state.images) image.results.delete(name); // they are scored again
    await choose();
  } catch (error) {
    trouble(error.message);
  }
  $("back").disabled = false;
}

let deciding = 0;

async function decide() {
  const mine = ++deciding;
  $("rate-shown").textContent = percent(rate());
  $("rate").setAttribute("aria-valuetext", percent(rate()));
  try {
    const found = await Promise.all(
      state.chosen.map((name) => ask(`${modelUrl(name)}/decision?false_alarm_rate=${rate()}`)),
    );
    if (mine !== deciding) return; // the slider has moved on
    state.decisions = new Map(state.chosen.map((name, i) => [name, found[i]]));
    show();
  } catch (error) {
    trouble(error.message);
  }
}

// -- images ------------------------------------------------------------------------------------------------------------

function add(files) {
  for (const file of files) {
    const image = { file, name: file.webkitRelativePath || file.name, url: URL.createObjectURL(file), results: new Map() };
    image.card = element("li", "card");
    state.images.push(image);
    rebuild(image);
  }
  show();
  scoreAll();
}

let running = 0;
const queue = [];

function scoreAll() {
  for (const image of state.images) {
    for (const name of state.chosen) {
      if (image.results.has(name)) continue;
      image.results.set(name, { waiting: true });
      queue.push([image, name]);
    }
  }
  while (running < AT_ONCE && queue.length) work();
}

async function work() {
  running++;
  for (let job = queue.shift(); job; job = queue.shift()) {
    const [image, name] = job;
    if (!state.images.includes(image)) continue;
    image.results.set(name, await score(image, name));
    rebuild(image);
    show();
    if (state.overview.history) historySoon();
  }
  running--;
}

async function score(image, name) {
  if (image.file.size > state.overview.limits.bytes) return { error: "The file is larger than the service takes." };
  const wants = state.details.get(name)?.gives_map ? "?map=true&regions=true" : "";
  try {
    const answer = await ask(`${modelUrl(name)}/score${wants}`, { method: "POST", body: form(image) });
    const result = answer.results[0];
    if (result.map) result.map = URL.createObjectURL(pngBlob(result.map));
    return result;
  } catch (error) {
    return { error: error.message, again: true };
  }
}

function form(image) {
  const body = new FormData();
  body.append("files", image.file, image.name);
  return body;
}

function pngBlob(base64) {
  return new Blob([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], { type: "image/png" });
}

// Scores are written with the digits that tell one float32 from the next, so they are compared as such.
const isAmiss = (result, name) =>
  result?.score != null && Math.fround(result.score) > state.decisions.get(name)?.threshold;
const flagged = (image) => state.chosen.some((name) => isAmiss(image.results.get(name), name));
const topScore = (image) => image.results.get(state.chosen[0])?.score ?? -Infinity;

// -- showing -----------------------------------------------------------------------------------------------------------

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

function svg(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

let drawing = false;

function show() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    showDecisions();
    showCards();
    if (state.shown) showFacts();
  });
}

function showDecisions() {
  const parts = state.chosen.map((name) => {
    const [decision, details] = [state.decisions.get(name), state.details.get(name)];
    const part = element("div", decision?.guaranteed ? "decision" : "decision weak");
    if (!decision) return part;
    part.append(element("h2", "", state.chosen.length > 1 ? `${name}: ${details.method}` : `${details.method}, fitted on ${details.fitted_on}`));
    part.append(element("p", "",
      `Scores above ${number(decision.threshold)} are flagged; of ${decision.n} normal calibration scores ` +
      `${decision.flagged} ${decision.flagged === 1 ? "is" : "are"}.`));
    part.append(chart(details.calibration, decision, name));
    const legend = state.images.length ? "Bars are normal calibration images, dots are yours. " : "";
    part.append(element("p", "note promise", legend + decision.promise));
    return part;
  });
  $("decisions").replaceChildren(...parts);
}

function chart(calibration, decision, name) {
  const columnsOfPage = state.chosen.length > 1 && innerWidth > 840 ? 2 : 1;
  const [width, height, foot] = [Math.max(200, $("decisions").clientWidth / columnsOfPage - 8), 136, 34];
  const scores = state.images.map((image) => image.results.get(name)?.score).filter((score) => score != null);
  const low = calibration[0];
  const span = Math.max(calibration.at(-1) - low, decision.threshold - low, 1e-9);
  const high = low + Math.min(Math.max(1.15 * span, ...scores.map((score) => 1.02 * (score - low))), 3 * span);
  const x = (score) => 6 + (width - 12) * Math.min(1, Math.max(0, (score - low) / (high - low)));
  const bins = 48;
  const columns = Array.from({ length: bins }, () => [0, 0]);
  for (const score of calibration) {
    const bin = Math.min(bins - 1, Math.floor((bins * (score - low)) / (high - low)));
    columns[bin][score > decision.threshold ? 1 : 0]++;
  }
  const most = Math.max(...columns.map(([below, above]) => below + above));
  const drawn = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img" });
  drawn.setAttribute("aria-label",
    `Histogram of ${decision.n} calibration scores, ${decision.flagged} above the threshold; ${scores.length} of your images`);
  const unit = (height - foot - 8) / most;
  const step = (width - 12) / bins;
  columns.forEach(([below, above], bin) => {
    const left = 6 + bin * step;
    const base = height - foot;
    if (below) drawn.append(svg("rect", { x: left, y: base - below * unit, width: step - 1, height: below * unit }));
    if (above) {
      const top = base - (below + above) * unit;
      drawn.append(svg("rect", { x: left, y: top, width: step - 1, height: above * unit, class: "above" }));
    }
  });
  drawn.append(svg("line", { x1: 0, x2: width, y1: height - foot, y2: height - foot, class: "axis" }));
  const at = x(decision.threshold);
  drawn.append(svg("line", { x1: at, x2: at, y1: 0, y2: height - foot, class: "threshold" }));
  for (const score of scores) {
    const above = Math.fround(score) > decision.threshold ? "above" : "";
    drawn.append(svg("circle", { cx: x(score), cy: height - foot + 9, r: 4.5, class: above }));
  }
  const words = [[6, "start", number(low)], [width - 6, "end", scores.some((score) => score > high) ? `${number(high)} and more` : number(high)]];
  for (const [place, anchor, text] of words) {
    const label = svg("text", { x: place, y: height - 4, "text-anchor": anchor });
    label.textContent = text;
    drawn.append(label);
  }
  return drawn;
}

function showCards() {
  $("outcome").hidden = !state.images.length;
  let images = state.images;
  if ($("flagged").checked) images = images.filter(flagged);
  if ($("order").value === "score") images = images.toSorted((a, b) => topScore(b) - topScore(a));
  const wanted = images.map((image) => image.card);
  const there = [...$("cards").children];
  if (wanted.length !== there.length || wanted.some((card, i) => card !== there[i])) $("cards").replaceChildren(...wanted);
  for (const image of images) showVerdicts(image);
  const all = state.images.length;
  const done = state.images.filter((image) => state.chosen.every((name) => settled(image.results.get(name)))).length;
  const words = state.chosen.map((name) => {
    const count = state.images.filter((image) => isAmiss(image.results.get(name), name)).length;
    return state.chosen.length > 1 ? `${count} flagged by ${name}` : `${count} flagged`;
  });
  if (state.chosen.length > 1) {
    const both = state.images.filter((image) => state.chosen.every((name) => isAmiss(image.results.get(name), name)));
    words.push(`${both.length} by both`);
  }
  const progress = done < all ? `${done} of ${all} images scored` : `${all} image${all === 1 ? "" : "s"}`;
  $("count").textContent = `${progress}: ${words.join(", ")}`;
}

const settled = (result) => result && !result.waiting;

function rebuild(image) {
  const open = element("button", "open");
  open.addEventListener("click", () => view(image));
  for (const name of state.chosen) {
    const picture = element("span", "picture");
    picture.append(sheet(image, name));
    open.append(picture);
  }
  const facts = element("div", "facts");
  facts.append(element("span", "name", image.name));
  for (const name of state.chosen) facts.append(verdict(image, name));
  const failed = state.chosen.filter((name) => image.results.get(name)?.again);
  if (failed.length) {
    const again = element("button", "quiet", "Try again");
    again.addEventListener("click", () => {
      for (const name of failed) image.results.delete(name);
      rebuild(image);
      scoreAll();
      show();
    });
    facts.append(again);
  }
  const focused = image.card.contains(document.activeElement);
  image.card.replaceChildren(open, facts);
  if (focused) open.focus();
  showVerdicts(image);
}

// The image, its map over it at the same size, and, in the viewer, frames around its regions.
function sheet(image, name, frames = false) {
  const result = image.results.get(name);
  const made = element("span", "sheet");
  const picture = element("img");
  picture.alt = "";
  picture.loading = "lazy";
  picture.decoding = "async";
  picture.addEventListener("load", () => {
    made.classList.toggle("pixels", Math.max(picture.naturalWidth, picture.naturalHeight) <= SMALL);
  });
  picture.addEventListener("error", () => {
    made.replaceChildren(element("span", "unseen", "This browser cannot show the file."));
  });
  picture.src = image.url;
  made.append(picture);
  if (result?.map) {
    const map = element("img", "map");
    map.alt = "";
    map.src = result.map;
    made.append(map);
  }
  if (frames && result?.regions && result.size) {
    const [height, width] = result.size;
    for (const { box: [left, top, across, down] } of result.regions) {
      const frame = element("span", "region");
      const place = { left: left / width, top: top / height, width: across / width, height: down / height };
      for (const [side, share] of Object.entries(place)) frame.style[side] = `${100 * share}%`;
      made.append(frame);
    }
  }
  return made;
}

function verdict(image, name) {
  const line = element("div", "line");
  line.dataset.model = name;
  return line;
}

function showVerdicts(image) {
  for (const line of image.card.querySelectorAll(".line")) fill(line, image, line.dataset.model);
  image.card.classList.toggle("amiss", flagged(image));
  const words = state.chosen.map((name) => inWords(image.results.get(name), name)).join("; ");
  image.card.querySelector(".open")?.setAttribute("aria-label", `${image.name}: ${words}. Show it large`);
}

function fill(line, image, name) {
  const result = image.results.get(name);
  line.replaceChildren();
  if (state.chosen.length > 1) line.append(element("span", "of", name));
  if (!settled(result)) {
    line.append(element("span", "note", "waiting"));
  } else if (result.error) {
    line.append(element("span", "error", result.error));
  } else {
    const amiss = isAmiss(result, name);
    line.append(element("span", `verdict ${amiss ? "amiss" : "normal"}`, amiss ? "amiss" : "normal"));
    line.append(element("span", "", `p ${result.p_value.toFixed(3)}`), element("span", "note", `score ${number(result.score)}`));
    if (result.note) line.append(element("span", "of", result.note));
  }
}

function inWords(result, name) {
  if (!settled(result)) return "waiting";
  if (result.error) return result.error;
  return `${isAmiss(result, name) ? "amiss" : "normal"}, p ${result.p_value.toFixed(3)}`;
}

// -- one image, large --------------------------------------------------------------------------------------------------

function view(image) {
  state.shown = image;
  $("viewer-name").textContent = image.name;
  $("views").replaceChildren(...state.chosen.map((name) => {
    const part = element("div", "view");
    const scroll = element("div", "scroll");
    scroll.tabIndex = 0;
    const large = sheet(image, name, true);
    large.querySelector("img")?.addEventListener("load", size);
    scroll.append(large);
    const facts = element("div", "facts");
    facts.append(verdict(image, name), element("p", "note places"));
    const result = image.results.get(name);
    const told = (label) => { result.label = label; historySoon(); };
    if (result?.entry != null) facts.append(feedback(result.entry, result.label, told));
    if (settled(result) && !result.error) facts.append(why(image, name));
    part.append(scroll, facts);
    return part;
  }));
  if (!$("viewer").open) $("viewer").showModal();
  showFacts();
  size();
}

function showFacts() {
  for (const line of $("views").querySelectorAll(".line")) {
    fill(line, state.shown, line.dataset.model);
    const result = state.shown.results.get(line.dataset.model);
    const places = line.parentElement.querySelector(".places");
    const regions = result?.regions?.length;
    places.textContent = result?.size
      ? `${result.size[1]} x ${result.size[0]} pixels` + (regions == null ? "" : `; ${regions} region${regions === 1 ? "" : "s"} on the map`)
      : "";
  }
  const at = neighbours();
  $("before").disabled = at.index <= 0;
  $("after").disabled = at.index >= at.images.length - 1;
}

function neighbours() {
  const cards = [...$("cards").children];
  const images = cards.map((card) => state.images.find((image) => image.card === card));
  return { images, index: images.indexOf(state.shown) };
}

function move(step) {
  const { images, index } = neighbours();
  const next = images[index + step];
  if (next) view(next);
}

// As large as fits, or a pixel of the image for a pixel of the page.
function size() {
  const own = $("own-size").getAttribute("aria-pressed") === "true";
  for (const scroll of $("views").querySelectorAll(".scroll")) {
    const [made, picture] = [scroll.querySelector(".sheet"), scroll.querySelector("img")];
    if (!made || !picture?.naturalWidth) continue;
    const fitting = Math.min(scroll.clientWidth / picture.naturalWidth, scroll.clientHeight / picture.naturalHeight);
    const factor = own ? 1 : fitting;
    made.style.width = `${factor * picture.naturalWidth}px`;
    made.style.height = `${factor * picture.naturalHeight}px`;
  }
}

function why(image, name) {
  const button = element("button", "quiet", "Why?");
  button.addEventListener("click", async () => {
    button.disabled = true;
    button.textContent = "Looking for the reason ...";
    try {
      const url = `${modelUrl(name)}/score?explain=counterfactual&keep=false&false_alarm_rate=${rate()}`;
      const { explanation } = (await ask(url, { method: "POST", body: form(image) })).results[0];
      const picture = element("img");
      picture.alt = "The image with the reason marked";
      picture.src = URL.createObjectURL(pngBlob(explanation.picture));
      picture.style.maxWidth = "16rem";
      button.replaceWith(element("p", "", explanation.words), picture);
    } catch (error) {
      button.replaceWith(element("p", "error", error.message));
    }
  });
  return button;
}

// -- drift -------------------------------------------------------------------------------------------------------------

const DRIFT_EVERY = 10; // seconds

async function showDrift(method = "GET") {
  const name = state.chosen[0];
  let drift;
  try {
    drift = await ask(`${modelUrl(name)}/drift${method === "POST" ? "/begin-anew" : ""}`, { method });
  } catch (error) {
    trouble(error.message);
    return;
  }
  if (name !== state.chosen[0]) return;
  const images = `${drift.images} image${drift.images === 1 ? "" : "s"}`;
  const since = drift.changed_since && new Date(drift.changed_since).toLocaleString("en-GB");
  $("drift").hidden = false;
  $("drift").classList.toggle("changed", drift.changed);
  $("drift-told").textContent = drift.changed
    ? `${name}: ${drift.message} (since ${since}).`
    : drift.images ? `${name}: ${drift.message} in ${images}.` : `${name}: no image yet.`;
  $("drift-chart").replaceChildren(...(drift.recent ? [pValues(drift)] : []));
  const odds = (log10) => number(10 ** Math.min(log10, 15));
  const evidence = drift.log10_evidence > 15 ? "more than 10¹⁵" : odds(drift.log10_evidence);
  const share = drift.recent ? `Of the last ${drift.recent} images, ${percent(drift.flagged)} were flagged; the false-alarm rate `
    + `that was asked for is ${percent(drift.false_alarm_rate)}. ` : "";
  $("drift-note").textContent = `${share}Bars are p-values, from 0 at the left to 1; of unchanged pictures they reach about ` +
    `the dashed line. Evidence for a change: ${evidence}; ${odds(drift.log10_needed)} says that there is one. ` +
    "Looking often does not make false alarms more likely.";
}

function pValues({ p_values: counts, recent }) {
  const [width, height, foot] = [320, 110, 18];
  const even = recent / counts.length;
  const unit = (height - foot - 4) / Math.max(2 * even, ...counts, 1);
  const step = width / counts.length;
  const drawn = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img" });
  drawn.setAttribute("aria-label", `Histogram of ${recent} p-values: ${counts.join(", ")}`);
  counts.forEach((count, bin) => {
    const high = count * unit;
    drawn.append(svg("rect", { x: bin * step + 1, y: height - foot - high, width: step - 2, height: high }));
  });
  drawn.append(svg("line", { x1: 0, x2: width, y1: height - foot, y2: height - foot, class: "axis" }));
  const line = height - foot - even * unit;
  drawn.append(svg("line", { x1: 0, x2: width, y1: line, y2: line, class: "uniform" }));
  for (const [x, anchor, text] of [[0, "start", "p 0"], [width, "end", "p 1"]]) {
    const label = svg("text", { x, y: height - 3, "text-anchor": anchor });
    label.textContent = text;
    drawn.append(label);
  }
  return drawn;
}

// -- history -----------------------------------------------------------------------------------------------------------

const LABELS = { normal: "This is fine", anomalous: "This is amiss" };

// Two buttons; what is pressed is what was said of the entry.
function feedback(entry, label, told = () => {}) {
  const group = element("span", "feedback");
  const buttons = Object.entries(LABELS).map(([value, words]) => {
    const button = element("button", "quiet", words);
    button.addEventListener("click", async () => {
      const body = JSON.stringify({ label: label === value ? null : value });
      const options = { method: "PUT", headers: { "Content-Type": "application/json" }, body };
      try {
        ({ label } = await ask(`/history/${entry}/label`, options));
        told(label);
        press();
      } catch (error) {
        trouble(error.message);
      }
    });
    group.append(button);
    return [value, button];
  });
  const press = () => {
    for (const [value, button] of buttons) button.setAttribute("aria-pressed", String(value === label));
  };
  press();
  return group;
}

function historyUrl(before) {
  const wanted = new URLSearchParams({ limit: 25 });
  for (const key of ["model", "is_anomaly", "label", "name"]) {
    const value = $(`kept-${key}`).value.trim();
    if (value) wanted.set(key, value);
  }
  if (before) wanted.set("before", before);
  return `/history?${wanted}`;
}

let oldest = null;
let looking = 0;
let pause = 0;

async function showHistory(before = null) {
  const mine = ++looking;
  let page;
  try {
    page = await ask(historyUrl(before));
  } catch (error) {
    trouble(error.message);
    return;
  }
  if (mine !== looking) return; // other filters have been set
  const rows = page.entries.map(historyRow);
  if (before) $("kept-rows").append(...rows);
  else $("kept-rows").replaceChildren(...rows);
  oldest = page.entries.at(-1)?.id ?? oldest;
  $("older").hidden = !page.more;
  $("kept-none").hidden = $("kept-rows").childElementCount > 0;
}

function historySoon() {
  clearTimeout(pause);
  pause = setTimeout(() => { showHistory(); showDrift(); }, 400);
}

function historyRow(entry) {
  const row = element("tr");
  const cells = Array.from({ length: 5 }, () => row.insertCell());
  thumbnail(entry.id).then((picture) => picture && cells[0].append(picture));
  cells[1].append(element("span", "name", entry.name), element("div", "note", new Date(entry.time).toLocaleString("en-GB")));
  cells[2].textContent = entry.model;
  cells[2].title = `version ${entry.version}`;
  const word = entry.is_anomaly ? "amiss" : "normal";
  cells[3].append(element("span", `verdict ${word}`, word));
  cells[3].append(element("div", "note", `p ${entry.p_value.toFixed(3)} at ${percent(entry.false_alarm_rate)}`));
  cells[4].append(feedback(entry.id, entry.label));
  return row;
}

async function thumbnail(entry) {
  const token = sessionStorage.getItem("token"); // an img of its own would send no token
  const options = token ? { headers: { Authorization: `Bearer ${token}` } } : {};
  const answer = await fetch(`/history/${entry}/thumbnail`, options).catch(() => null);
  if (!answer?.ok) return null;
  const picture = element("img");
  picture.alt = "";
  picture.addEventListener("load", () => URL.revokeObjectURL(picture.src));
  picture.src = URL.createObjectURL(await answer.blob());
  return picture;
}

function startHistory(names) {
  $("kept").hidden = false;
  for (const name of names) $("kept-model").append(new Option(name, name));
  for (const key of ["model", "is_anomaly", "label"]) $(`kept-${key}`).addEventListener("change", () => showHistory());
  $("kept-name").addEventListener("input", historySoon);
  $("older").addEventListener("click", () => showHistory(oldest));
  $("begin-anew").addEventListener("click", () => {
    if (confirm("Take the pictures as they are now for unchanged? The next ones are compared with each other.")) showDrift("POST");
  });
  setInterval(() => { if (!document.hidden) showDrift(); }, 1000 * DRIFT_EVERY);
  showHistory();
}

// -- keeping -----------------------------------------------------------------------------------------------------------

function save() {
  const cell = (value) => {
    const text = String(value ?? "");
    const safe = /^[=+\-@\t\r]/.test(text) && typeof value === "string" ? `'${text}` : text; // no formula for a spreadsheet
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const rows = [["name", "model", "score", "p_value", "is_anomaly", "error", "note"]];
  for (const image of state.images) {
    for (const name of state.chosen) {
      const result = image.results.get(name);
      if (!settled(result)) continue;
      const decided = result.score == null ? "" : isAmiss(result, name);
      rows.push([image.name, name, result.score, result.p_value, decided, result.error, result.note]);
    }
  }
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([rows.map((row) => row.map(cell).join(",")).join("\n") + "\n"], { type: "text/csv" }));
  link.download = "scores.csv";
  link.click();
}

function clear() {
  for (const image of state.images) {
    URL.revokeObjectURL(image.url);
    for (const result of image.results.values()) if (result.map) URL.revokeObjectURL(result.map);
  }
  state.images = [];
  queue.length = 0;
  show();
}

// -- dropping and choosing ---------------------------------------------------------------------------------------------

async function* filesOf(entry) {
  if (entry.isFile) {
    yield await new Promise((done, failed) => entry.file(done, failed));
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return;
    for (const inner of some) yield* filesOf(inner);
  }
}

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return chosen(transfer.files);
  const files = [];
  for (const entry of entries) for await (const file of filesOf(entry)) files.push(file);
  chosen(files);
}

function chosen(files) {
  const all = [...files].filter((file) => !file.name.startsWith("."));
  const images = all.filter((file) => /\.(png|jpe?g|jfif|bmp|tiff?|webp|gif|avif|jp2|j2k|hei[cf])$/i.test(file.name));
  const others = all.length - images.length;
  trouble(others ? `${others} file${others === 1 ? " is no image and was" : "s are no images and were"} left out.` : "");
  images.sort((a, b) => (a.webkitRelativePath || a.name).localeCompare(b.webkitRelativePath || b.name, "en", { numeric: true }));
  add(images);
}

let depth = 0;
addEventListener("dragenter", (event) => { event.preventDefault(); depth++; $("drop").classList.add("over"); });
addEventListener("dragleave", () => { if (--depth <= 0) $("drop").classList.remove("over"); });
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  $("drop").classList.remove("over");
  dropped(event.dataTransfer);
});
for (const id of ["files", "folder"]) {
  $(id).addEventListener("change", () => { chosen($(id).files); $(id).value = ""; });
}
addEventListener("paste", (event) => { if (event.clipboardData?.files.length) chosen(event.clipboardData.files); });
$("first").addEventListener("change", choose);
$("second").addEventListener("change", choose);
$("back").addEventListener("click", goBack);
$("rate").addEventListener("input", decide);
$("flagged").addEventListener("change", show);
$("order").addEventListener("change", show);
$("save").addEventListener("click", save);
$("clear").addEventListener("click", clear);
for (const id of ["maps", "viewer-maps"]) {
  $(id).addEventListener("change", () => {
    for (const each of ["maps", "viewer-maps"]) $(each).checked = $(id).checked;
    document.body.classList.toggle("maps", $(id).checked);
  });
}
document.body.classList.add("maps");
$("before").addEventListener("click", () => move(-1));
$("after").addEventListener("click", () => move(1));
$("own-size").addEventListener("click", () => {
  $("own-size").setAttribute("aria-pressed", String($("own-size").getAttribute("aria-pressed") !== "true"));
  size();
});
$("close").addEventListener("click", () => $("viewer").close());
$("viewer").addEventListener("close", () => { state.shown?.card.querySelector(".open")?.focus(); state.shown = null; });
$("viewer").addEventListener("keydown", (event) => {
  if (event.target.closest(".scroll") && $("own-size").getAttribute("aria-pressed") === "true") return; // arrows scroll
  if (event.key === "ArrowLeft") move(-1);
  if (event.key === "ArrowRight") move(1);
});
addEventListener("resize", () => { show(); if (state.shown) size(); });
start();
