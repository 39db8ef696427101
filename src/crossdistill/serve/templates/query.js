// What is asked: a drawing, a recording, a file, or one of the run's own items. It is sent to this server, which keeps
// it in memory and gives a word for it; Gradio is told the word alone. `element`, `props`, `trigger` and `watch` are Gradio's.
const find = (name) => element.querySelector(name);
const canvas = find("canvas"), pen = canvas.getContext("2d"), note = find(".cd-note"), input = find("input[type=file]");
let setup = {}, query = null, strokes = [], stroke = null, timer = null, recorder = null, asked = 0;

const say = (text, wrong = false) => { note.textContent = text; note.classList.toggle("cd-wrong", wrong); };

function apply() {
  let value = {};
  try { value = JSON.parse(props.value || "{}"); } catch { return; }
  setup = value.setup || {};
  query = value.query || null;
  const style = setup.style || {};
  find(".cd-draw").hidden = !setup.draws;
  find(".cd-record").hidden = !setup.records;
  find(".cd-kinds").textContent = setup.kinds || "";
  find(".cd-drop").classList.toggle("cd-small", !!(setup.draws || setup.records));
  find(".cd-paper").style.background = style.paper || "#ffffff";
  find(".cd-invite").style.color = style.ink || "#000000";
  input.accept = setup.accept || "";
  const row = find(".cd-row");
  row.replaceChildren(...(setup.examples || []).map((each) => {
    const button = document.createElement("button");
    button.type = "button"; button.title = each.name; button.setAttribute("aria-label", `Try ${each.name}`);
    const picture = document.createElement("img");
    picture.src = each.picture; picture.alt = ""; picture.loading = "lazy";
    button.append(picture);
    button.onclick = () => { say(""); ask({ own: each.position, side: setup.side, name: each.name }); };
    return button;
  }));
  find(".cd-tries").hidden = !(setup.examples || []).length;
  paint();
}

function ask(what) {
  if (window.innerWidth < 900 && !what.drawn) setTimeout(() => document.querySelector(".cd-results")?.scrollIntoView({ behavior: "smooth" }), 350);
  asked += 1;
  query = { ...what, number: asked };
  props.value = JSON.stringify({ setup, query });
  trigger("submit");
}

async function send(blob, name, drawn = false) {
  if (blob.size > setup.most) {
    say(`${name} has ${blob.size.toLocaleString()} bytes, where ${setup.most.toLocaleString()} are the most. Send a smaller file.`, true);
    return;
  }
  if (!blob.size) { say(`${name} is empty.`, true); return; }
  const number = ++asked;
  try {
    const response = await fetch(`page/queries?name=${encodeURIComponent(name)}`, { method: "POST", body: blob });
    const answer = await response.json();
    if (number !== asked) return;  // something else has been asked meanwhile
    if (!response.ok) { say([answer.problem, answer.expected, answer.fix].filter(Boolean).join(" "), true); return; }
    ask({ token: answer.token, name, drawn });
  } catch { say("The server does not answer. Is it still running?", true); }
}

// Drawing. Strokes are kept as points, so that they can be undone, and sent in the size and line width of training.
const width = (scale) => Math.max((setup.style?.stroke || 0.03) * 512, 3) * scale;

function trace(to, points, line) {
  to.lineWidth = line; to.lineCap = to.lineJoin = "round";
  to.strokeStyle = to.fillStyle = setup.style?.ink || "#000000";
  to.beginPath();
  to.moveTo(points[0][0], points[0][1]);
  if (points.length === 1) to.lineTo(points[0][0] + 0.01, points[0][1]);
  for (const [x, y] of points.slice(1)) to.lineTo(x, y);
  to.stroke();
}

function paint() {
  pen.clearRect(0, 0, 512, 512);
  for (const each of stroke ? [...strokes, stroke] : strokes) trace(pen, each, width(1));
  find(".cd-invite").hidden = !!(strokes.length || stroke);
}

function drawn() {
  const all = strokes.flat(), xs = all.map((p) => p[0]), ys = all.map((p) => p[1]);
  const low = [Math.min(...xs), Math.min(...ys)], high = [Math.max(...xs), Math.max(...ys)];
  const line = width(1), extent = Math.max(high[0] - low[0], high[1] - low[1]);
  const zoom = Math.min(((setup.style?.fill || 0.8) * 512 - line) / Math.max(extent, 24), 6);
  const sheet = document.createElement("canvas");
  sheet.width = sheet.height = 512;
  const to = sheet.getContext("2d");
  to.fillStyle = setup.style?.paper || "#ffffff";
  to.fillRect(0, 0, 512, 512);
  const place = ([x, y]) => [256 + zoom * (x - (low[0] + high[0]) / 2), 256 + zoom * (y - (low[1] + high[1]) / 2)];
  for (const each of strokes) trace(to, each.map(place), line);
  return new Promise((done) => sheet.toBlob(done, "image/png"));
}

async function search(whileDrawing = false) {
  clearTimeout(timer);
  if (!strokes.length) { say("Draw something first."); return; }
  say("");
  await send(await drawn(), "drawing.png", whileDrawing);
}

const point = (event) => {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) * 512 / box.width, (event.clientY - box.top) * 512 / box.height];
};
canvas.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  canvas.setPointerCapture(event.pointerId);
  clearTimeout(timer);
  stroke = [point(event)];
  paint();
});
canvas.addEventListener("pointermove", (event) => {
  if (!stroke) return;
  for (const each of event.getCoalescedEvents?.() || [event]) stroke.push(point(each));
  paint();
});
for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => {
  if (!stroke) return;
  strokes.push(stroke);
  stroke = null;
  timer = setTimeout(() => search(true), 700);
});

// Sound, as WAV of 16 bits in mono: the loudest part of the length that the encoder hears.
async function record() {
  if (recorder) { recorder.stop(); return; }
  let stream;
  try { stream = await navigator.mediaDevices.getUserMedia({ audio: true }); }
  catch { say("There is no microphone, or this page may not use it. Choose a file instead.", true); return; }
  const parts = [], context = new AudioContext(), meter = context.createAnalyser();
  context.createMediaStreamSource(stream).connect(meter);
  recorder = new MediaRecorder(stream);
  const levels = new Uint8Array(meter.fftSize), bar = find(".cd-level i");
  const show = () => {
    if (!recorder) { bar.style.width = "0"; return; }
    meter.getByteTimeDomainData(levels);
    bar.style.width = `${Math.min(100, Math.max(...levels.map((v) => Math.abs(v - 128))) * 1.6)}%`;
    requestAnimationFrame(show);
  };
  const limit = setTimeout(() => recorder?.stop(), Math.max(4 * (setup.seconds || 2), 8) * 1000);
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onstop = async () => {
    clearTimeout(limit);
    for (const track of stream.getTracks()) track.stop();
    recorder = null;
    button.setAttribute("aria-pressed", "false"); find(".cd-word").textContent = "Record";
    try {
      const heard = await context.decodeAudioData(await new Blob(parts).arrayBuffer());
      const blob = wav(heard);
      const player = find(".cd-record audio");
      player.src = URL.createObjectURL(blob); player.hidden = false;
      await send(blob, "recording.wav");
    } catch { say("The recording holds no sound.", true); }
    context.close();
  };
  const button = find("[data-do=record]");
  button.setAttribute("aria-pressed", "true"); find(".cd-word").textContent = "Stop";
  say("");
  recorder.start();
  show();
}

function wav(heard) {
  const all = heard.getChannelData(0), rate = heard.sampleRate;
  const length = Math.min(all.length, Math.round((setup.seconds || 2) * rate)), step = Math.max(1, Math.round(rate / 100));
  let best = 0, most = -1;
  for (let start = 0; start + length <= all.length; start += step) {
    let energy = 0;
    for (let i = start; i < start + length; i += 8) energy += all[i] * all[i];
    if (energy > most) { most = energy; best = start; }
  }
  const part = all.subarray(best, best + length), view = new DataView(new ArrayBuffer(44 + 2 * part.length));
  const text = (at, word) => [...word].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * part.length, true); text(8, "WAVEfmt "); view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); view.setUint16(22, 1, true); view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true); text(36, "data"); view.setUint32(40, 2 * part.length, true);
  part.forEach((v, i) => view.setInt16(44 + 2 * i, Math.max(-1, Math.min(1, v)) * 32767, true));
  return new Blob([view], { type: "audio/wav" });
}

// Files.
function file(given) {
  if (!given) return;
  say(given.name);
  send(given, given.name);
}
input.addEventListener("change", () => { file(input.files[0]); input.value = ""; });
const drop = find(".cd-drop");
for (const kind of ["dragover", "dragleave", "drop"]) element.addEventListener(kind, (event) => {
  event.preventDefault();
  drop.classList.toggle("cd-over", kind === "dragover");
  if (kind === "drop") file(event.dataTransfer.files[0]);
});

element.addEventListener("click", (event) => {
  const name = event.target.closest("[data-do]")?.dataset.do;
  if (name === "undo") { strokes.pop(); paint(); }
  if (name === "clear") { clearTimeout(timer); strokes = []; paint(); say(""); }
  if (name === "search") search();
  if (name === "record") record();
});
// The sounds of what was found, one at a time.
let player = null, playing = null;
const stop = () => { player?.pause(); playing?.classList.remove("cd-playing"); player = playing = null; };
document.addEventListener("click", (event) => {
  const button = event.target.closest(".cd-play");
  if (!button) return;
  const same = button === playing;
  stop();
  if (same) return;
  playing = button; player = new Audio(button.dataset.sound);
  button.classList.add("cd-playing");
  player.addEventListener("ended", stop);
  player.play().catch(stop);
});

watch("value", apply);
apply();
