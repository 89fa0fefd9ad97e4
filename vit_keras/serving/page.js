"use strict";

// The page that classifies images. `entries` are the user's images in their order, `chosen` the one that is shown large.

const PARALLEL = 4; // requests at once
const TRIES = 60; // of a request, while the server has too many
const MOST_ROWS = 500;
const THUMBNAIL = 88; // px, for screens with two pixels per CSS pixel
const SHARP = 448; // px: smaller pictures are enlarged without smoothing
const STRENGTH = 0.7; // maximum opacity of the heat map
const BRIGHTEST = 0.99; // quantile of the brightest value, so that one outlier does not darken the rest
const INFERNO = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];
const IMAGE_NAME = /\.(jpe?g|jpe|jfif|png|webp|gif|bmp|dib|p[pgbn]m|tiff?|avifs?|hei[cf]|hif)$/i;

const find = (id) => document.getElementById(id);
const entries = [];
const waiting = [];
let model = null;
let chosen = null;
let running = 0;
let taken = 0; // pictures of the camera and the clipboard, which have no names
let stream = null;

// Words

const percent = (value) => `${(100 * value).toFixed(1)} %`;
const short = (value) => String(Number(value.toPrecision(6)));
const nameOf = (name) => (model.named ? name : `class ${name}`);
const images = (count) => `${count} image${count === 1 ? "" : "s"}`;

/** What a prediction says, in one line. */
function headline(answer) {
  if (answer.values) return Object.entries(answer.values).map(([name, value]) => `${name} ${short(value)}`).join(", ");
  if (answer.labels) return answer.labels.map(nameOf).join(", ") || "none of the classes";
  return nameOf(answer.classes[0].name);
}

function say(words, isError = false) {
  find("status").textContent = words;
  find("status").classList.toggle("error", isError);
}

function element(kind, words = "", css = "") {
  const made = document.createElement(kind);
  made.textContent = words;
  if (css) made.className = css;
  return made;
}

// Requests

async function ask(path, entry) {
  let bytes;
  try {
    bytes = await entry.file.arrayBuffer();
  } catch {
    throw new Error("The browser could not read this file.");
  }
  const type = entry.file.type.startsWith("image/") ? entry.file.type : "application/octet-stream";
  const address = `${path}?name=${encodeURIComponent(entry.name.slice(-200))}`;
  for (let tries = 1; ; tries++) {
    let answer;
    try {
      answer = await fetch(address, { method: "POST", body: bytes, headers: { "Content-Type": type } });
    } catch {
      throw new Error("The server does not answer. Is it still running?");
    }
    if (answer.status === 503 && tries < TRIES) {
      const seconds = Number(answer.headers.get("Retry-After")) || 1;
      await new Promise((done) => setTimeout(done, 1000 * seconds));
      continue;
    }
    const value = await answer.json().catch(() => ({ error: `The server answered with status ${answer.status}.` }));
    if (!answer.ok) throw new Error(value.error);
    return value;
  }
}

function add(files) {
  const fresh = [...files].map((file) => ({ file, name: file.fullName || file.name, answer: null, error: null, maps: null }));
  if (!fresh.length) return;
  for (const entry of fresh) {
    entries.push(entry);
    entry.row = entries.length <= MOST_ROWS ? addRow(entry) : null;
    waiting.push(entry);
  }
  choose(fresh[0]);
  listAll();
  work();
}

function work() {
  while (running < PARALLEL && waiting.length) {
    running++;
    classify(waiting.shift()).finally(() => {
      running--;
      work();
    });
  }
}

async function classify(entry) {
  try {
    if (entry.file.size > model.max_bytes) {
      const megabytes = (size) => (size / 2 ** 20).toFixed(0);
      throw new Error(`${entry.name}: it has ${megabytes(entry.file.size)} MB; the limit is ${megabytes(model.max_bytes)} MB.`);
    }
    entry.answer = await ask("predict", entry);
  } catch (error) {
    entry.error = error.message;
  }
  if (!entries.includes(entry)) return; // cleared meanwhile
  fillRow(entry);
  listAll();
  if (entry === chosen) show();
  const done = entries.filter((each) => each.answer || each.error).length;
  if (done < entries.length) say(`${done} of ${images(entries.length)} done`);
  else if (entries.length > 1) say(`${images(entries.length)} done`);
  else say(entry.error || `${entry.name}: ${headline(entry.answer)}`, Boolean(entry.error));
}

async function explain(entry) {
  if (entry.maps || entry.asked || !entry.answer) return;
  entry.asked = true;
  try {
    const maps = await ask("explain", entry);
    const picture = new Image();
    picture.src = maps.image;
    await picture.decode();
    entry.picture = picture;
    entry.maps = maps;
  } catch (error) {
    entry.unexplained = error.message;
  }
  if (entry === chosen) drawPicture();
}

// One image

function choose(entry) {
  chosen = entry;
  for (const row of document.querySelectorAll("#all tr[aria-current]")) row.removeAttribute("aria-current");
  entry.row?.setAttribute("aria-current", "true");
  show();
}

function show() {
  const { answer, error } = chosen;
  find("result").hidden = false;
  find("name").textContent = chosen.name;
  find("answer").textContent = error || (answer ? headline(answer) : "Classifying ...");
  find("answer").classList.toggle("error", Boolean(error));
  find("time").textContent = answer ? timeOf(answer) : "";
  fillClasses(answer);
  drawPicture();
  preview(chosen);
  if (way() !== "picture") explain(chosen);
}

function timeOf({ milliseconds, threshold }) {
  const { decoding, model: computing } = milliseconds;
  const total = (decoding + computing).toFixed(0);
  const above = threshold === undefined ? "" : ` Classes of at least ${percent(threshold)} are the image's labels.`;
  return `${total} ms: ${decoding.toFixed(0)} to decode and resize it, ${computing.toFixed(0)} for the model.${above}`;
}

function fillClasses(answer) {
  const [head, body] = find("classes").children;
  head.replaceChildren();
  body.replaceChildren();
  if (!answer) return;
  const heads = answer.values ? ["Number", "Value"] : ["Class", "", "Probability"];
  const top = element("tr");
  for (const words of heads) top.append(element("th", words, words === "Value" || words === "Probability" ? "number" : ""));
  head.append(top);
  if (answer.values) {
    for (const [name, value] of Object.entries(answer.values)) {
      const row = element("tr");
      row.append(element("td", name, "name"), element("td", short(value), "number"));
      body.append(row);
    }
    return;
  }
  answer.classes.forEach(({ name, probability }, place) => {
    const isChosen = answer.labels ? answer.labels.includes(name) : place === 0;
    const row = element("tr", "", isChosen ? "chosen" : "");
    const bar = element("td", "", "bar");
    const track = element("div");
    const filled = element("i");
    bar.setAttribute("aria-hidden", "true");
    filled.style.width = `${100 * probability}%`;
    track.append(filled);
    bar.append(track);
    row.append(element("td", nameOf(name), "name"), bar, element("td", percent(probability), "number"));
    body.append(row);
  });
}

const way = () => document.querySelector("#shown input:checked").value;

/** Loads the file itself, which is shown until the server has sent what the model sees. */
async function preview(entry) {
  if (entry.preview !== undefined) return;
  entry.preview = null;
  try {
    entry.preview = await createImageBitmap(entry.file, { resizeWidth: SHARP, resizeQuality: "medium" });
  } catch {
    return; // a format that this browser can't show
  }
  if (entry === chosen) drawPicture();
}

function drawPicture() {
  const canvas = find("picture");
  const entry = chosen;
  const { maps } = entry;
  const block = Number(find("block").value);
  const drawn = way();
  const source = maps ? entry.picture : entry.preview;
  find("blocks").hidden = drawn === "picture";
  find("block-number").textContent = `${block} of ${model.blocks}`;
  const caption = captionOf(entry, drawn, block);
  find("caption").textContent = caption;
  canvas.setAttribute("aria-label", `${entry.name}. ${caption}`);
  if (!source) {
    canvas.width = canvas.height = SHARP;
    return;
  }
  const scale = Math.max(1, Math.ceil(SHARP / Math.max(source.width, source.height)));
  canvas.width = source.width * scale;
  canvas.height = source.height * scale;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  if (!maps || drawn === "picture") return;
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(heat(maps[drawn][block - 1]), 0, 0, canvas.width, canvas.height);
}

function captionOf({ maps, answer, error, unexplained }, drawn, block) {
  if (drawn === "picture") return maps ? `As the model sees it: ${model.image_size[1]} × ${model.image_size[0]} px.` : "The picture.";
  if (unexplained) return unexplained;
  if (error) return "";
  if (!maps) return answer ? "Computing the attention ..." : "";
  if (drawn === "attention") return `What the ${maps.query} attends to in block ${block}, on average over the heads. Brighter is more.`;
  return `What each patch contributes to the ${maps.query} through blocks 1 to ${block}. Brighter is more.`;
}

/** A canvas with one pixel per patch, whose colors and opacity are those of a map. */
function heat(map) {
  const values = map.flat();
  const sorted = [...values].sort((a, b) => a - b);
  const place = BRIGHTEST * (sorted.length - 1);
  const below = sorted[Math.floor(place)];
  const brightest = below + (place % 1) * (sorted[Math.ceil(place)] - below);
  const canvas = document.createElement("canvas");
  canvas.width = map[0].length;
  canvas.height = map.length;
  const context = canvas.getContext("2d");
  const data = context.createImageData(canvas.width, canvas.height);
  values.forEach((value, index) => {
    const share = Math.min(1, Math.max(0, (value - sorted[0]) / Math.max(brightest - sorted[0], 1e-12)));
    const step = Math.min(INFERNO.length - 2, Math.floor(share * (INFERNO.length - 1)));
    const rest = share * (INFERNO.length - 1) - step;
    INFERNO[step].forEach((low, channel) => {
      data.data[4 * index + channel] = low + rest * (INFERNO[step + 1][channel] - low);
    });
    data.data[4 * index + 3] = 255 * STRENGTH * (0.6 + 0.4 * share);
  });
  context.putImageData(data, 0, 0);
  return canvas;
}

// All images

function addRow(entry) {
  const row = element("tr");
  const picture = element("canvas");
  picture.width = picture.height = THUMBNAIL;
  picture.setAttribute("aria-hidden", "true");
  const cell = element("td");
  cell.append(picture);
  const file = element("td", "", "name");
  const button = element("button", entry.name);
  button.type = "button";
  button.addEventListener("click", () => {
    choose(entry);
    find("result").scrollIntoView({ block: "nearest" });
  });
  file.append(button);
  row.append(cell, file, element("td", "", "name"), element("td", "", "number"));
  document.querySelector("#all tbody").append(row);
  return row;
}

async function fillRow(entry) {
  if (!entry.row) return;
  const [picture, , answer, probability] = entry.row.cells;
  if (entry.error) {
    answer.textContent = entry.error;
    answer.className = "error";
    answer.colSpan = 2;
    probability.remove();
    return;
  }
  answer.textContent = headline(entry.answer);
  probability.textContent = entry.answer.classes && !entry.answer.labels ? percent(entry.answer.classes[0].probability) : "";
  try {
    const bitmap = await createImageBitmap(entry.file, { resizeHeight: THUMBNAIL, resizeQuality: "medium" });
    const canvas = picture.firstChild;
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
  } catch {
    // a format that this browser can't show: the row is without a picture
  }
}

function listAll() {
  find("all").hidden = entries.length < 2;
  find("all-title").textContent = images(entries.length);
  find("more").textContent = entries.length > MOST_ROWS ? `and ${entries.length - MOST_ROWS} more; the CSV has all` : "";
}

/** The table that `vit-keras predict --out FILE.csv` writes. */
function csv() {
  const answers = entries.filter((entry) => entry.answer).map((entry) => entry.answer);
  const targets = model.task === "regression" ? model.class_names : [];
  const ranks = Math.max(0, ...answers.map((answer) => answer.classes?.length || 0));
  const heads = ["image"];
  if (model.task === "multi_label") heads.push("labels");
  heads.push(...targets);
  for (let rank = 1; rank <= ranks; rank++) heads.push(`class_${rank}`, `probability_${rank}`);
  heads.push("error");
  const rows = entries.map(({ name, answer, error }) => {
    const cells = { image: name, error: error || "" };
    if (answer?.labels) cells.labels = answer.labels.join("|");
    if (answer?.values) Object.assign(cells, answer.values);
    answer?.classes?.forEach((each, place) => {
      cells[`class_${place + 1}`] = each.name;
      cells[`probability_${place + 1}`] = each.probability;
    });
    return heads.map((head) => cells[head] ?? "");
  });
  const quoted = (cell) => (/[",\n\r]/.test(cell) ? `"${String(cell).replaceAll('"', '""')}"` : String(cell));
  return [heads, ...rows].map((cells) => `${cells.map(quoted).join(",")}\n`).join("");
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = "predictions.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function clear() {
  entries.length = waiting.length = 0;
  chosen = null;
  document.querySelector("#all tbody").replaceChildren();
  find("result").hidden = true;
  listAll();
  say("");
  find("choose").focus();
}

// Where images come from

/** The files of what was dropped, those in folders included. */
async function droppedFiles(transfer) {
  const roots = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!roots.some((root) => root.isDirectory)) return [...transfer.files];
  const found = [];
  for (const root of roots) await walk(root, found);
  return found;
}

async function walk(item, found) {
  if (item.name.startsWith(".")) return;
  if (item.isFile) {
    const file = await new Promise((done, failed) => item.file(done, failed));
    file.fullName = item.fullPath.slice(1);
    if (file.type.startsWith("image/") || IMAGE_NAME.test(file.name)) found.push(file);
    return;
  }
  const reader = item.createReader();
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return;
    for (const each of some) await walk(each, found);
  }
}

async function openCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    const reasons = { NotAllowedError: "The browser did not allow the camera.", NotFoundError: "There is no camera." };
    say(reasons[error.name] || `The camera can't be used (${error.message}).`, true);
    return;
  }
  find("video").srcObject = stream;
  find("camera").hidden = false;
  find("open-camera").hidden = true;
  find("shoot").focus();
}

function closeCamera() {
  for (const track of stream?.getTracks() || []) track.stop();
  stream = find("video").srcObject = null;
  find("camera").hidden = true;
  find("open-camera").hidden = false;
  find("open-camera").focus();
}

async function shoot() {
  const video = find("video");
  if (!video.videoWidth) {
    say("The camera has not sent a picture yet.", true);
    return;
  }
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  const content = await new Promise((done) => canvas.toBlob(done, "image/png"));
  add([new File([content], `camera ${++taken}.png`, { type: "image/png" })]);
}

function listen() {
  find("choose").addEventListener("click", () => find("files").click());
  find("files").addEventListener("change", ({ target }) => {
    add(target.files);
    target.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    find("drop").classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) find("drop").classList.remove("over");
  });
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    find("drop").classList.remove("over");
    const files = await droppedFiles(event.dataTransfer);
    if (files.length) add(files);
    else say("There is no image file in what was dropped. Save the image, or copy it and paste it here.", true);
  });
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    for (const file of files) file.fullName = file.name === "image.png" ? `pasted ${++taken}.png` : file.name;
    if (files.length) add(files);
    else say("There is no image in the clipboard.", true);
  });
  find("shown").addEventListener("change", () => {
    drawPicture();
    if (way() !== "picture") explain(chosen);
  });
  find("block").addEventListener("input", drawPicture);
  find("csv").addEventListener("click", save);
  find("clear").addEventListener("click", clear);
  find("shoot").addEventListener("click", shoot);
  find("close-camera").addEventListener("click", closeCamera);
  find("open-camera").addEventListener("click", openCamera);
  if (!navigator.mediaDevices?.getUserMedia) find("open-camera").hidden = true; // browsers allow it on loopback and https alone
}

async function start() {
  if (location.search) history.replaceState(null, "", location.pathname); // the token, which is in a cookie now
  try {
    const answer = await fetch("model");
    model = await answer.json();
    if (!answer.ok) throw new Error(model.error);
  } catch (error) {
    say(error.message, true);
    return;
  }
  document.title = `${model.model} · vit_keras`;
  find("model").textContent = model.model;
  find("facts").textContent = model.summary;
  find("report").hidden = !model.report;
  find("block").max = model.blocks; // before the value, which it bounds
  find("block").value = model.blocks;
  const token = model.needs_token ? ' -H "Authorization: Bearer $VIT_KERAS_TOKEN"' : "";
  find("curl").textContent = `curl --data-binary @cat.jpg -H 'Content-Type: image/jpeg'${token} ${location.origin}/predict`;
  const heads = element("tr");
  for (const words of ["", "File", model.task === "regression" ? "Numbers" : "Class", "Probability"]) {
    heads.append(element("th", words, words === "Probability" ? "number" : ""));
  }
  document.querySelector("#all thead").append(heads);
  listen();
}

start();
