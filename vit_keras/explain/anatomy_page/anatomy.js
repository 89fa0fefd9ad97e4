"use strict";

// The page of one forward pass. Numbers come from Python and are printed as they are; only the colors of attention are computed here, from
// queries and keys in 8 bits. `state` is what the user has chosen; the functions in `drawn` redraw everything that depends on it.

const facts = JSON.parse(document.getElementById("facts").textContent);
const { config } = facts;
const [ROWS, COLUMNS] = config.grid_size;
const [HEIGHT, WIDTH] = config.image_size;
const PREFIX = config.num_prefix_tokens;
const PATCHES = ROWS * COLUMNS;
const TOKENS = PREFIX + PATCHES;
const HEAD_DIM = config.hidden_dim / config.num_heads;
const MOST_IN_A_MATRIX = 1100; // maximum number of tokens for which every pair is drawn; more would take too long
const LINES = [1, 2, 3, 4, 5].map((number) => `var(--line-${number})`);

const state = { block: 0, head: 0, token: 0, patch: 0, pixel: null, language: navigator.language.startsWith("ru") ? "ru" : "en" };
const drawn = [];
let arrays;

// Numbers

async function unpacked() {
  const text = atob(document.getElementById("numbers").textContent);
  const packed = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  return Object.fromEntries(Object.entries(facts.numbers).map(([name, place]) => [name, arrayAt(bytes, place)]));
}

function arrayAt(bytes, { kind, shape, start }) {
  const count = shape.reduce((product, side) => product * side, 1);
  if (kind === "uint8") return { shape, values: bytes.subarray(start, start + count) };
  if (kind === "int8") return { shape, values: new Int8Array(bytes.buffer, start, count) };
  if (kind === "uint16") return { shape, values: new Uint16Array(bytes.slice(start, start + 2 * count).buffer) };
  const bits = new Uint32Array(count); // "float24": planes of the three upper bytes of a float32
  for (let i = 0; i < count; i++) {
    bits[i] = (bytes[start + i] << 24) | (bytes[start + count + i] << 16) | (bytes[start + 2 * count + i] << 8);
  }
  return { shape, values: new Float32Array(bits.buffer) };
}

/** The sub-array at the given leading indices, flattened. */
function at(name, ...places) {
  const { shape, values } = arrays[name];
  const length = shape.slice(places.length).reduce((product, side) => product * side, 1);
  const first = places.reduce((place, index, axis) => place * shape[axis] + index, 0) * length;
  return values.subarray(first, first + length);
}

/** A token's attention weights: its row of softmax(q k / sqrt(head_dim)), with the exact weights where the page has them. */
function attention(block, head, token) {
  const keys = at("key_colors", block, head);
  const keyScales = at("key_scales", block, head);
  const query = at("query_colors", block, head, token);
  const scale = at("query_scales", block, head)[token] / Math.sqrt(HEAD_DIM);
  const row = new Float32Array(TOKENS);
  let greatest = -Infinity;
  for (let other = 0; other < TOKENS; other++) {
    let product = 0;
    for (let i = 0; i < HEAD_DIM; i++) product += query[i] * keys[other * HEAD_DIM + i];
    row[other] = product * scale * keyScales[other];
    greatest = Math.max(greatest, row[other]);
  }
  let sum = 0;
  for (let other = 0; other < TOKENS; other++) sum += row[other] = Math.exp(row[other] - greatest);
  for (let other = 0; other < TOKENS; other++) row[other] /= sum;
  const known = at("shown_weights", block, head, token);
  seenTokens(block, head, token).forEach((other, place) => (row[other] = known[place]));
  return row;
}

/** The tokens whose scores and weights the page has exactly: prefix tokens and the patches with the largest weights. */
function seenTokens(block, head, token) {
  const front = Array.from({ length: PREFIX }, (_, index) => index);
  return [...front, ...Array.from(at("strongest", block, head, token), (patch) => PREFIX + patch)];
}

// Words

const words = () => facts.languages[state.language].labels;

function filled(text, extra = {}) {
  const values = { block: state.block + 1, head: state.head + 1, token: tokenName(state.token), ...extra };
  const found = text.replace(/\[(\w+)\]/g, (whole, name) => values[name] ?? whole);
  return found.charAt(0).toUpperCase() + found.slice(1);
}

function tokenName(token) {
  if (token >= PREFIX) {
    const [row, column] = place(token - PREFIX);
    return words().patch.replace("[row]", row + 1).replace("[column]", column + 1);
  }
  const named = [config.class_token && "class_token", config.distillation_token && "distillation_token"].filter(Boolean);
  return named[token] ? words()[named[token]] : words().register.replace("[number]", token - named.length + 1);
}

const place = (patch) => [Math.floor(patch / COLUMNS), patch % COLUMNS];

/** A number with up to four digits. */
function printed(number) {
  const size = Math.abs(number);
  const digits = size >= 1000 ? 1 : size >= 100 ? 2 : size >= 10 ? 3 : 4;
  return (size !== 0 && size < 5e-5 ? number.toExponential(1) : number.toFixed(digits)).replace("-", "−");
}

const percent = (share) => (share < 0.001 ? "<0.1 %" : `${(100 * share).toFixed(1)} %`);

// Elements

function element(kind, attributes = {}, ...children) {
  const made = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** A caption that is updated with every change. */
function captioned(words_of, ...children) {
  const caption = element("figcaption");
  drawn.push(() => (caption.textContent = words_of()));
  return element("figure", {}, caption, ...children);
}

function canvas(width, height, attributes = {}) {
  return element("canvas", { width, height, role: "img", ...attributes });
}

/** A table whose rows come from a function: [name, numbers, count of all there are, class]. */
function numberTable(rows_of) {
  const table = element("table");
  drawn.push(() => {
    const rows = rows_of();
    const widest = Math.max(...rows.map(([, numbers]) => numbers.length));
    table.replaceChildren(
      ...rows.map(([name, numbers, count, kind = ""]) => {
        const cells = Array.from(numbers, (number) => element("td", {}, printed(number)));
        const more = count > cells.length ? [element("td", { class: "rest", colspan: widest + 1 - cells.length }, "…")] : [];
        return element("tr", { class: kind, title: words().first_of.replace("[count]", count) }, element("td", {}, name), ...cells, ...more);
      }),
    );
  });
  return element("div", { class: "scroll" }, table);
}

// Pictures

const base = canvas(WIDTH, HEIGHT);

function drawBase() {
  const pixels = arrays.pixels.values;
  const image = new ImageData(WIDTH, HEIGHT);
  for (let i = 0; i < WIDTH * HEIGHT; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = pixels[i * config.channels + (config.channels >= 3 ? c : 0)];
    image.data[4 * i + 3] = 255;
  }
  base.getContext("2d").putImageData(image, 0, 0);
}

const scaleFor = (side) => Math.max(1, Math.round(side / Math.max(WIDTH, HEIGHT)));

/** The weight that is drawn brightest: the 98th percentile, since one patch may exceed all others. */
function brightestOf(shares) {
  return Math.max(1e-12, Float32Array.from(shares).sort()[Math.floor(0.98 * (PATCHES - 1))]);
}

/** The image, brighter and warmer where attention is larger. */
function drawAttention(target, row, marked) {
  const context = target.getContext("2d");
  const [across, down] = [target.width / COLUMNS, target.height / ROWS];
  context.drawImage(base, 0, 0, target.width, target.height);
  const shares = row.subarray(PREFIX);
  const brightest = brightestOf(shares);
  for (let patch = 0; patch < PATCHES; patch++) {
    const [y, x] = place(patch);
    const strength = Math.sqrt(Math.min(1, shares[patch] / brightest));
    const cell = [Math.floor(x * across), Math.floor(y * down), Math.ceil(across), Math.ceil(down)];
    context.fillStyle = `rgba(8, 10, 20, ${0.82 * (1 - strength)})`;
    context.fillRect(...cell);
    context.fillStyle = `rgba(255, 140, 0, ${0.3 * strength})`;
    context.fillRect(...cell);
  }
  if (marked >= PREFIX) outline(target, marked - PREFIX);
}

function outline(target, patch) {
  const context = target.getContext("2d");
  const [y, x] = place(patch);
  const [across, down] = [target.width / COLUMNS, target.height / ROWS];
  const line = Math.max(1, target.width / 150);
  context.lineWidth = 2 * line;
  for (const [color, inset] of [["#000", 0], ["#fff", line]]) {
    context.strokeStyle = color;
    context.lineWidth = line;
    context.strokeRect(x * across + inset, y * down + inset, across - 2 * inset, down - 2 * inset);
  }
}

/** Blue below zero, red above, white at zero; `limit` is full color. */
function diverging(value, limit) {
  const strength = Math.min(1, Math.abs(value) / limit);
  return value < 0 ? [255 - 205 * strength, 255 - 155 * strength, 255 - 35 * strength] : [255 - 37 * strength, 255 - 175 * strength, 255 - 215 * strength];
}

function drawMatrix(target, values, rows, columns, color) {
  [target.width, target.height] = [columns, rows];
  const image = new ImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) {
    const [red, green, blue] = color(values[i], i);
    image.data.set([red, green, blue, 255], 4 * i);
  }
  target.getContext("2d").putImageData(image, 0, 0);
}

/** A matrix of tokens in 8 bits; a fifth of the range is full color, since few numbers are large. */
function tokenMatrix(name, title) {
  const target = canvas(1, 1, { class: "wide", style: `height: ${Math.min(12, Math.max(4, TOKENS / 16))}rem` });
  const { shape, values } = arrays[name];
  drawMatrix(target, values, shape[0], shape[1], (value) => diverging(value, 45));
  return captioned(title, target, colorScale("signed", () => [words().negative, words().positive]));
}

const largest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-12);

/** A vector as a strip of colors, wrapped into rows. */
function drawStrip(target, values, across) {
  const limit = largest(values);
  const down = Math.ceil(values.length / across);
  drawMatrix(target, values, down, across, (value) => (value === undefined ? [0, 0, 0] : diverging(value, limit)));
}

/** The scale of a picture's colors, from the text at its left end to that at its right end. */
function colorScale(kind, ends_of) {
  const ends = [element("span"), element("span")];
  drawn.push(() => ends_of().forEach((text, end) => (ends[end].textContent = text)));
  return element("div", { class: "scale" }, ends[0], element("i", { class: kind }), ends[1]);
}

/** The scale of one picture of attention, in weights. */
const weightScale = (row_of) => colorScale("warm", () => ["0", `≥ ${percent(brightestOf(row_of().subarray(PREFIX)))}`]);

/** The scale of several pictures, each of which is as bright as its own largest weights. */
const attentionScale = () => colorScale("warm", () => [words().weaker, words().stronger]);

/** The scale of numbers of both signs, up to the largest. */
const signedScale = (limit_of) => colorScale("signed", () => [-limit_of(), limit_of()].map(printed));

function strip(words_of, vector_of, across, height = "1.4rem") {
  const target = canvas(1, 1, { class: "wide", style: `height: ${height}` });
  drawn.push(() => drawStrip(target, vector_of(), across));
  return captioned(words_of, target, colorScale("signed", () => [words().negative, words().positive]));
}

/** An image with attention over it; a pointer on it chooses a patch. */
function attentionPicture(row_of, side = 288) {
  const scale = scaleFor(side);
  const target = canvas(WIDTH * scale, HEIGHT * scale, { class: "picks" });
  drawn.push(() => drawAttention(target, row_of(), state.token));
  picks(target);
  return target;
}

/** One attention map per block or head; a click selects it. */
function smallPictures(what, count, row_of) {
  const grid = element("div", { class: "small" });
  const scale = scaleFor(96);
  for (let place = 0; place < count; place++) {
    const target = canvas(WIDTH * scale, HEIGHT * scale);
    const button = element("button", { onclick: () => change({ [what]: place }) }, target, String(place + 1));
    drawn.push(() => {
      drawAttention(target, row_of(place), state.token);
      button.setAttribute("aria-pressed", place === state[what]);
    });
    grid.append(button);
  }
  return grid;
}

function picks(target) {
  const choose = (event) => {
    const box = target.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * COLUMNS);
    const y = Math.floor(((event.clientY - box.top) / box.height) * ROWS);
    if (x >= 0 && x < COLUMNS && y >= 0 && y < ROWS) change({ token: PREFIX + y * COLUMNS + x });
  };
  target.addEventListener("pointermove", choose);
  target.addEventListener("pointerdown", choose);
}

function patchPicture(patch, side) {
  const target = canvas(side, side);
  const context = target.getContext("2d");
  context.imageSmoothingEnabled = false;
  const [y, x] = place(patch);
  const size = config.patch_size;
  context.drawImage(base, x * size, y * size, size, size, 0, 0, side, side);
  return target;
}

// Steps: what each shows below its text.

const corner = (name, ...places) => at(name, ...places);
const dim = config.hidden_dim;
const patchDim = config.stem === "conv" ? dim : config.patch_size ** 2 * config.channels;
const z = (block) => corner("tokens", block, state.token);

const shows = {
  image() {
    const scale = scaleFor(320);
    const target = canvas(WIDTH * scale, HEIGHT * scale);
    const context = target.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(base, 0, 0, target.width, target.height);
    target.addEventListener("pointermove", (event) => {
      const box = target.getBoundingClientRect();
      const inside = (offset, length, count) => Math.min(count - 1, Math.max(0, Math.floor((offset / length) * count)));
      change({ pixel: [inside(event.clientY - box.top, box.height, HEIGHT), inside(event.clientX - box.left, box.width, WIDTH)] });
    });
    const said = () => {
      if (!state.pixel) return words().point;
      const [row, column] = state.pixel;
      const values = Array.from(at("pixels", row, column), (value) => (Number.isInteger(value) ? value : printed(value))).join(", ");
      return filled(words().pixel, { row: row + 1, column: column + 1, values });
    };
    return [element("div", { class: "pair" }, captioned(said, target))];
  },

  patches() {
    const gap = Math.max(1, Math.round((scaleFor(448) * Math.max(WIDTH, HEIGHT)) / 150));
    const size = config.patch_size * scaleFor(320);
    const target = canvas(COLUMNS * (size + gap), ROWS * (size + gap), { class: "picks" });
    drawn.push(() => {
      const context = target.getContext("2d");
      context.clearRect(0, 0, target.width, target.height);
      context.imageSmoothingEnabled = false;
      for (let patch = 0; patch < PATCHES; patch++) {
        const [y, x] = place(patch);
        const cut = config.patch_size;
        context.drawImage(base, x * cut, y * cut, cut, cut, x * (size + gap), y * (size + gap), size, size);
      }
      const [y, x] = place(state.patch);
      context.strokeStyle = "#d9480f";
      context.lineWidth = 2 * gap;
      context.strokeRect(x * (size + gap), y * (size + gap), size, size);
    });
    picks(target);
    return [element("div", { class: "pair" }, captioned(() => filled(tokenName(PREFIX + state.patch)), target))];
  },

  vectors() {
    const parts = [];
    if (config.stem === "patch") {
      const large = element("div");
      drawn.push(() => large.replaceChildren(patchPicture(state.patch, 144)));
      const flat = () => {
        const [y, x] = place(state.patch);
        const [size, channels] = [config.patch_size, config.channels];
        const [mean, std] = [config.pixel_mean, config.pixel_std];
        const vector = new Float32Array(size * size * channels);
        for (let row = 0, i = 0; row < size; row++) {
          for (let column = 0; column < size; column++) {
            for (let c = 0; c < channels; c++, i++) {
              const pixel = arrays.pixels.values[((y * size + row) * WIDTH + x * size + column) * channels + c];
              vector[i] = (pixel / 255 - mean[c % mean.length]) / std[c % std.length];
            }
          }
        }
        return vector;
      };
      const across = config.patch_size * config.channels;
      parts.push(
        element("div", { class: "pair" }, captioned(() => filled(tokenName(PREFIX + state.patch)), large),
          strip(() => `${config.patch_size} × ${across} = ${patchDim}`, flat, across, "9rem")),
      );
    }
    parts.push(numberTable(() => [[filled(tokenName(PREFIX + state.patch)), corner("patches", state.patch), patchDim]]));
    return parts;
  },

  projection() {
    return [
      numberTable(() => [
        [filled(tokenName(PREFIX + state.patch)), corner("patches", state.patch), patchDim],
        [words().projected, corner("projected", state.patch), dim, "sum"],
      ]),
    ];
  },

  prefix() {
    const front = Array.from({ length: PREFIX }, (_, index) => index);
    return [
      tokenMatrix("before_positions", () => words().every_token),
      ...(PREFIX ? [numberTable(() => front.map((token) => [filled(tokenName(token)), corner("prefix", token), dim]))] : []),
    ];
  },

  positions() {
    if (!arrays.positions) return [];
    const before = () => (state.token < PREFIX ? corner("prefix", state.token) : corner("projected", state.token - PREFIX));
    const alike = () => {
      const vectors = at("position_colors");
      const dot = (a, b) => {
        let sum = 0;
        for (let i = 0; i < dim; i++) sum += vectors[a * dim + i] * vectors[b * dim + i];
        return sum;
      };
      const own = Math.sqrt(dot(state.token, state.token));
      const norms = Array.from({ length: TOKENS }, (_, other) => Math.sqrt(dot(other, other)) * own);
      return Float32Array.from(norms, (norm, other) => (norm ? Math.max(0, dot(state.token, other) / norm) ** 2 : 0));
    };
    return [
      numberTable(() => [
        [words().before, before(), dim],
        [`+ ${words().position}`, corner("positions", state.token), dim],
        [`= ${words().sum}`, corner("embedded", state.token), dim, "sum"],
      ]),
      element("div", { class: "pair" }, captioned(() => filled(words().like_it), attentionPicture(alike), colorScale("warm", () => ["0", "1"])),
        tokenMatrix("position_colors", () => words().every_token)),
    ];
  },

  queries() {
    const inside = (name) => corner(name, state.block, state.head, state.token);
    const colors = (name) => () => Float32Array.from(at(`${name}_colors`, state.block, state.head, state.token));
    return [
      numberTable(() => [
        [filled(tokenName(state.token)), z(state.block), dim],
        [words().normalized, corner("normed", state.block, state.token), dim, "sum"],
        [words().query, inside("queries"), HEAD_DIM],
        [words().key, inside("keys"), HEAD_DIM],
        [words().value, inside("values"), HEAD_DIM],
      ]),
      strip(() => `${words().query}: ${HEAD_DIM}`, colors("query"), HEAD_DIM),
    ];
  },

  scores() {
    const target = canvas(1, 1, { class: "picks wide", style: `aspect-ratio: ${WIDTH} / ${HEIGHT}` });
    let limit = 0;
    drawn.push(() => {
      const scores = attention(state.block, state.head, state.token).subarray(PREFIX).map(Math.log); // up to a constant
      const mean = scores.reduce((sum, score) => sum + score, 0) / PATCHES;
      limit = Math.max(1e-6, largest(scores.map((score) => score - mean)));
      drawMatrix(target, scores, ROWS, COLUMNS, (score) => diverging(score - mean, limit));
    });
    picks(target);
    return [element("div", { class: "pair" }, captioned(() => filled(words().score_map), target, signedScale(() => limit)), seenTable([["score", "shown_scores"]], false))];
  },

  softmax() {
    const row = () => attention(state.block, state.head, state.token);
    const parts = [captioned(() => filled(words().looks), attentionPicture(row), weightScale(row))];
    if (TOKENS <= MOST_IN_A_MATRIX) {
      const target = canvas(1, 1, { class: "picks wide" });
      let last = "";
      drawn.push(() => {
        const now = `${state.block} ${state.head}`;
        if (now !== last) drawAllRows(target);
        last = now;
      });
      target.addEventListener("pointermove", (event) => {
        const box = target.getBoundingClientRect();
        change({ token: Math.min(TOKENS - 1, Math.max(0, Math.floor(((event.clientY - box.top) / box.height) * TOKENS))) });
      });
      parts.push(captioned(() => words().all_tokens, target, attentionScale()));
    }
    return [element("div", { class: "pair" }, ...parts), seenTable([["score", "shown_scores"], ["weight", "shown_weights"]], true)];
  },

  heads() {
    return [
      element("div", { class: "scroll" }, sumTable()),
    ];
  },

  joined() {
    const grid = smallPictures("head", config.num_heads, (head) => attention(state.block, head, state.token));
    return [
      captioned(() => filled(words().looks), grid, attentionScale()),
      numberTable(() => [
        [`${words().head} ${state.head + 1}`, corner("heads", state.block, state.head, state.token), HEAD_DIM],
        [words().projected, corner("attended", state.block, state.token), dim],
      ]),
    ];
  },

  residual() {
    if (config.parallel_block) return [];
    const scaled = arrays.layer_scales ? [[words().scale, corner("layer_scales", state.block, 0), dim]] : [];
    return [
      numberTable(() => [
        [words().came_in, z(state.block), dim],
        [`+ ${words().attention_adds}`, corner("attended", state.block, state.token), dim],
        ...scaled,
        [`= ${words().after_attention}`, corner("after_attention", state.block, state.token), dim, "sum"],
      ]),
    ];
  },

  mlp() {
    const inside = (name) => corner(name, state.block, state.token);
    const parallel = config.parallel_block;
    return [
      numberTable(() => [
        [words().normalized, inside("mlp_normed"), dim],
        [words().widened, inside("expanded"), config.mlp_dim],
        [parallel ? words().came_in : words().after_attention, inside("after_attention"), dim, "sum"],
        ...(parallel ? [[`+ ${words().attention_adds}`, inside("attended"), dim]] : []),
        [`+ ${words().mlp_adds}`, inside("contracted"), dim],
        ...(arrays.layer_scales ? [[words().scale, corner("layer_scales", state.block, parallel ? 0 : 1), dim]] : []),
        [`= ${words().goes_out}`, z(state.block + 1), dim, "sum"],
      ]),
    ];
  },

  depth() {
    const grid = smallPictures("block", config.num_layers, (block) => attention(block, state.head, state.token));
    const parts = [
      captioned(() => filled(words().in_blocks), grid, attentionScale()),
      numberTable(() => [
        [words().came_in, z(state.block), dim],
        [words().goes_out, z(state.block + 1), dim],
      ]),
    ];
    if (arrays.depth_probabilities) parts.push(captioned(() => words().by_depth, depthChart()));
    return parts;
  },

  pooling() {
    const parts = [];
    if (arrays.pooling_weights) {
      const mean = new Float32Array(TOKENS);
      for (let head = 0; head < config.num_heads; head++) {
        at("pooling_weights", head).forEach((share, token) => (mean[token] += share / config.num_heads));
      }
      parts.push(element("div", { class: "pair" }, captioned(() => "", attentionPicture(() => mean), weightScale(() => mean))));
    }
    const first = config.pooling === "token" || config.pooling === "token_and_mean";
    parts.push(
      numberTable(() => [
        ...(first ? [[words().last, corner("tokens", config.num_layers, 0), dim]] : []),
        ...(first && config.final_norm === "before" ? [[words().normalized, corner("normalized", 0), dim]] : []),
        [words().pooled, at("features"), facts.languages.en.steps.at(-2).shape, "sum"],
      ]),
    );
    return parts;
  },

  classifier() {
    if (!arrays.logits) return [numberTable(() => [[words().output, at("output").slice(0, 6), at("output").length, "sum"]])];
    const table = element("table");
    drawn.push(() => {
      const most = facts.classes[0].probability;
      const heads = ["", words().logit, words().probability].map((word) => element("th", {}, word));
      heads.push(element("th", { class: "ends" }, element("span", {}, "0"), element("span", {}, percent(most))));
      table.replaceChildren(
        element("tr", {}, ...heads),
        ...facts.classes.map(({ name, logit, probability }) =>
          element("tr", {}, element("td", {}, name), element("td", {}, printed(logit)), element("td", {}, percent(probability)),
            element("td", { class: "bar" }, element("i", { style: `width: ${(100 * probability) / most}%` }))),
        ),
      );
    });
    const parts = [element("div", { class: "scroll" }, table)];
    if (config.distillation_token) {
      const note = element("p");
      drawn.push(() => (note.textContent = words().two_heads));
      const best = () => facts.classes.map(({ number }) => number);
      parts.unshift(note);
      parts.push(
        numberTable(() =>
          ["class_token", "distillation_token"].map((name, head) => [words()[name], best().map((number) => at("head_logits", head)[number]), at("logits").length]),
        ),
      );
    }
    return parts;
  },
};

/** The attention matrix of a block and head; brightness is the square root of the weight. */
function drawAllRows(target) {
  const all = new Float32Array(TOKENS * TOKENS);
  for (let token = 0; token < TOKENS; token++) {
    const row = attention(state.block, state.head, token);
    const greatest = row.reduce((most, share) => Math.max(most, share), 1e-12);
    row.forEach((share, other) => (all[token * TOKENS + other] = Math.sqrt(share / greatest)));
  }
  drawMatrix(target, all, TOKENS, TOKENS, (strength) => [20 + 235 * strength, 24 + 140 * strength, 44 + 20 * strength]);
}

function named(token) {
  const cell = element("td");
  if (token >= PREFIX) cell.append(patchPicture(token - PREFIX, 24));
  cell.append(tokenName(token));
  return cell;
}

/** The tokens with the largest attention weights, with their exact numbers. */
function seenTable(columns, withRest) {
  const table = element("table");
  drawn.push(() => {
    const seen = seenTokens(state.block, state.head, state.token);
    const numbers = columns.map(([, name]) => at(name, state.block, state.head, state.token));
    const rows = seen.map((token, place) => element("tr", {}, named(token), ...numbers.map((values) => element("td", {}, printed(values[place])))));
    if (withRest && TOKENS > seen.length) {
      const rest = 1 - numbers.at(-1).reduce((sum, share) => sum + share, 0);
      const empty = columns.slice(1).map(() => element("td"));
      rows.push(element("tr", {}, element("td", {}, words().rest.replace("[count]", TOKENS - seen.length)), ...empty, element("td", {}, printed(Math.max(0, rest)))));
    }
    table.replaceChildren(element("tr", {}, element("th", {}, words().token), ...columns.map(([name]) => element("th", {}, words()[name]))), ...rows);
  });
  return element("div", { class: "scroll" }, table);
}

/** The weighted sum of a head: weights, values, and the sum over all tokens. */
function sumTable() {
  const table = element("table");
  drawn.push(() => {
    const shares = at("shown_weights", state.block, state.head, state.token);
    const rows = seenTokens(state.block, state.head, state.token).map((token, place) =>
      element("tr", {}, named(token), element("td", {}, printed(shares[place])),
        ...Array.from(corner("values", state.block, state.head, token), (value) => element("td", {}, printed(value))), element("td", { class: "rest" }, "…")),
    );
    const sum = Array.from(corner("heads", state.block, state.head, state.token), (value) => element("td", {}, printed(value)));
    const heads = [words().token, words().weight].map((word) => element("th", {}, word));
    table.replaceChildren(
      element("tr", {}, ...heads, element("th", { class: "over", colspan: sum.length + 1 }, words().value)),
      ...rows,
      element("tr", { class: "sum" }, element("td", {}, words().weighted_sum), element("td", {}, "1"), ...sum, element("td", { class: "rest" }, "…")),
    );
  });
  return table;
}

/** The probabilities of the top classes after each block. */
function depthChart() {
  const { shape, values } = arrays.depth_probabilities;
  const [depth, count] = [shape[0], Math.min(shape[1], LINES.length)];
  const [width, height, left] = [560, 170, 34];
  const x = (block) => left + (depth > 1 ? (block * (width - left - 8)) / (depth - 1) : 0);
  const y = (share) => 8 + (1 - share) * (height - 16);
  const make = (kind, attributes, text = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.textContent = text;
    return made;
  };
  const chart = make("svg", { viewBox: `0 0 ${width} ${height + 18}` });
  for (const share of [0, 0.5, 1]) {
    chart.append(make("line", { x1: left, x2: width - 8, y1: y(share), y2: y(share), stroke: "var(--line)" }));
    chart.append(make("text", { x: 0, y: y(share) + 4 }, `${100 * share} %`));
  }
  for (let block = 0; block < depth; block++) chart.append(make("text", { x: x(block), y: height + 14, "text-anchor": "middle" }, String(block + 1)));
  const mark = make("line", { y1: 4, y2: height - 4, stroke: "var(--soft)", "stroke-dasharray": "3 3" });
  chart.append(mark);
  for (let line = 0; line < count; line++) {
    const points = Array.from({ length: depth }, (_, block) => `${x(block)},${y(values[block * shape[1] + line])}`).join(" ");
    chart.append(make("polyline", { points, fill: "none", stroke: LINES[line], "stroke-width": 2 }));
  }
  drawn.push(() => {
    mark.setAttribute("x1", x(state.block));
    mark.setAttribute("x2", x(state.block));
  });
  const legend = element("div", { class: "legend" });
  drawn.push(() => {
    const rows = facts.classes.slice(0, count).map(({ name }, line) =>
      element("span", {}, element("i", { style: `background: ${LINES[line]}` }), `${name} ${percent(values[state.block * shape[1] + line])}`));
    legend.replaceChildren(...rows);
  });
  const both = element("div", {}, legend);
  both.append(chart);
  return both;
}

// The page

let waiting = false;

function change(changes) {
  const next = { ...state, ...changes };
  if (next.token !== state.token && next.token >= PREFIX) next.patch = next.token - PREFIX;
  if (Object.keys(next).every((name) => next[name] === state[name])) return;
  Object.assign(state, next);
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    draw();
  });
}

function draw() {
  document.documentElement.lang = state.language;
  for (const one of drawn) one();
}

function control(name, count) {
  const input = element("input", { type: "range", min: 1, max: count, id: `choose-${name}`, oninput: () => change({ [name]: Number(input.value) - 1 }) });
  const label = element("label", { for: `choose-${name}` });
  const shown = element("output", { for: `choose-${name}` });
  drawn.push(() => {
    label.textContent = words()[name];
    input.value = state[name] + 1;
    shown.textContent = `${state[name] + 1} / ${count}`;
  });
  return element("div", { class: "control" }, label, input, shown);
}

function panel() {
  const picture = attentionPicture(() => attention(state.block, state.head, state.token));
  picture.setAttribute("tabindex", 0);
  picture.id = "looks";
  const tokens = element("div", { class: "tokens" });
  for (let token = 0; token < PREFIX; token++) {
    const button = element("button", { onclick: () => change({ token }) });
    drawn.push(() => {
      button.textContent = filled(tokenName(token));
      button.setAttribute("aria-pressed", token === state.token);
    });
    tokens.append(button);
  }
  const hint = element("p", { class: "soft hint" });
  drawn.push(() => (hint.innerHTML = words().hint));
  const controls = element("div", {}, control("block", config.num_layers), control("head", config.num_heads), tokens);
  drawn.push(() => picture.setAttribute("aria-label", filled(words().looks)));
  return element("aside", {}, captioned(() => filled(words().looks), picture), controls, hint);
}

function stepSection(index) {
  const step = () => facts.languages[state.language].steps[index];
  const { name, shape, equation } = step();
  const [title, text, number] = [element("h2"), element("p"), element("b", {}, String(index + 1))];
  const said = element("span");
  title.append(number, said);
  drawn.push(() => {
    said.textContent = step().title;
    text.textContent = filled(step().text);
  });
  const formula = element("div", { class: "equation" });
  formula.innerHTML = equation;
  const code = element("details");
  const summary = element("summary");
  drawn.push(() => (summary.textContent = `${words().code}: ${facts.sources[name].map(({ name, file, line }) => `${name}, ${file}:${line}`).join(" · ")}`));
  code.append(summary, ...facts.sources[name].map(({ text }) => element("pre", {}, text)));
  const top = element("div", { class: "top" }, title, element("span", { class: "shape" }, shape));
  return element("section", { id: name }, top, text, ...(equation ? [formula] : []), ...shows[name](), code);
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const round = (value, step, count) => (value + step + count) % count;
  const inside = event.target instanceof HTMLInputElement;
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  if (event.key in moves && !inside) {
    const [row, column] = place(state.patch);
    const [down, right] = moves[event.key];
    change({ token: PREFIX + round(row, down, ROWS) * COLUMNS + round(column, right, COLUMNS) });
    event.preventDefault();
  } else if (event.key.toLowerCase() === "b") {
    change({ block: round(state.block, event.key === "b" ? 1 : -1, config.num_layers) });
  } else if (event.key.toLowerCase() === "h") {
    change({ head: round(state.head, event.key === "h" ? 1 : -1, config.num_heads) });
  } else if (event.key === "c" && PREFIX) {
    change({ token: state.token < PREFIX ? (state.token + 1) % PREFIX : 0 });
  } else if (event.key === "l") {
    speakOther();
  }
}

function speakOther() {
  const languages = Object.keys(facts.languages);
  change({ language: languages[(languages.indexOf(state.language) + 1) % languages.length] });
}

function build() {
  drawBase();
  state.block = config.num_layers - 1;
  state.patch = Math.floor(ROWS / 2) * COLUMNS + Math.floor(COLUMNS / 2);
  state.token = PREFIX ? 0 : state.patch;
  const [title, lead, language] = [element("h1"), element("p"), element("button", { id: "language", onclick: speakOther })];
  drawn.push(() => {
    title.textContent = words().title;
    lead.innerHTML = words().lead;
    language.textContent = words().language;
  });
  const steps = facts.languages.en.steps.map((_, index) => stepSection(index));
  document.body.append(
    element("header", {}, element("div", {}, title, lead), language),
    element("main", {}, panel(), element("div", {}, ...steps)),
  );
  document.addEventListener("keydown", keys);
  draw();
}

unpacked().then((found) => {
  arrays = found;
  build();
});
