// The form, made better: drop and paste, a connected camera, previews, crops, lesions, large photographs reduced, limits
// checked before anything is sent, and progress. Without this script the form sends the files as they are.

import { bitmapOf, halved, halvings } from "./bitmap.js";
import { liven } from "./cards.js";
import { collect } from "./collect.js";
import { crop } from "./crop.js";
import { say } from "./say.js";

const form = document.getElementById("upload");
const input = document.getElementById("image");
const list = form.querySelector(".previews");
const error = document.getElementById("error");
const progress = form.querySelector(".progress");
const send = form.querySelector("button[type=submit]");
const accepted = form.dataset.accept.split(",");
const [maxCount, maxBytes, frame, longest] = ["count", "bytes", "frame", "longest"].map(name => Number(form.dataset[name]));
const THUMBNAIL = 320; // pixels, the longer side

/** @type {{file: File, name: string, lesion: string, note: string, ready: Promise<{content: Blob, picture: HTMLElement}>}[]} */
let entries = [];

function size(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1024))} kB` : `${(bytes / 2 ** 20).toFixed(1)} MB`;
}

function tell(messages) {
  error.textContent = messages.join(" ");
  error.hidden = messages.length === 0;
}

function add(chosen) {
  const messages = [], left = [];
  for (const file of chosen) {
    const { name } = file;
    const known = entries.some(({ file: { size, lastModified }, name: other }) =>
      name === other && size === file.size && lastModified === file.lastModified);
    if (known) continue;
    if (file.type && !accepted.includes(file.type)) {
      messages.push(say("format", { name, formats: form.dataset.formats }));
    } else if (file.size > maxBytes) {
      messages.push(say("bytes", { name, size: size(file.size), most: size(maxBytes) }));
    } else if (entries.length === maxCount) {
      left.push(name);
    } else {
      entries.push({ file, name, lesion: "", note: size(file.size), ready: prepare(file) });
    }
  }
  input.value = "";
  if (left.length) messages.push(say("count", { name: left.join(", "), most: maxCount }));
  tell(messages);
  show();
}

/** Decode once: for the small picture, and to send less of a large one. What this browser cannot read goes as it is. */
async function prepare(file) {
  try {
    let bitmap = await bitmapOf(file);
    const times = halvings(bitmap, frame);
    bitmap = await halved(bitmap, times);
    const content = times && await isWhole(file) ? await drawn(bitmap, 1).convertToBlob({ type: "image/png" }) : file;
    const picture = document.createElement("canvas"), scale = Math.min(1, THUMBNAIL / Math.max(bitmap.width, bitmap.height));
    const small = drawn(bitmap, scale);
    [picture.width, picture.height] = [small.width, small.height];
    picture.getContext("2d").drawImage(small, 0, 0);
    bitmap.close();
    return { content, picture };
  } catch {
    const picture = Object.assign(document.createElement("span"), { className: "blank", textContent: say("no_preview") });
    return { content: file, picture };
  }
}

/** Browsers draw the half of a JPEG that was cut short; the server shall see that it was, and say so. */
async function isWhole(file) {
  if (file.type !== "image/jpeg") return true;
  const end = new Uint8Array(await file.slice(-65536).arrayBuffer());
  return end.some((byte, i) => byte === 0xff && end[i + 1] === 0xd9);
}

function drawn(bitmap, scale) {
  const canvas = new OffscreenCanvas(...[bitmap.width, bitmap.height].map(side => Math.max(1, Math.round(side * scale))));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas;
}

function show() {
  list.replaceChildren(...entries.map(item));
  list.hidden = entries.length === 0;
  form.querySelector(".grouping").hidden = entries.length < 2;
}

function item(entry, place) {
  const item = document.createElement("li"), words = document.createElement("span");
  const name = document.createElement("bdi"); // whatever its direction, the size comes after it
  name.textContent = entry.name;
  words.append(name, `, ${entry.note}`);
  const acts = Object.assign(document.createElement("div"), { className: "acts" });
  acts.append(button("crop", entry, () => cut(entry, place)), button("remove", entry, () => remove(entry)));
  item.append(words, acts);
  if (entries.length > 1) item.append(lesion(entry));
  entry.ready.then(({ picture }) => {
    picture.setAttribute("aria-hidden", "true");
    item.prepend(picture);
  });
  return item;
}

function button(kind, { name }, act) {
  const made = Object.assign(document.createElement("button"), { type: "button", className: `${kind} quiet`, textContent: say(kind) });
  made.setAttribute("aria-label", say(`${kind}_named`, { name }));
  made.addEventListener("click", act);
  return made;
}

function lesion(entry) {
  const label = document.createElement("label"), field = document.createElement("input");
  [field.type, field.value, field.maxLength] = ["text", entry.lesion, longest];
  field.addEventListener("input", () => (entry.lesion = field.value.trim()));
  label.append(say("lesion"), field);
  return label;
}

function remove(entry) {
  const place = entries.indexOf(entry);
  entries.splice(place, 1);
  tell([]);
  show();
  (list.querySelectorAll(".remove")[Math.min(place, entries.length - 1)] ?? input).focus();
}

async function cut(entry, place) {
  try {
    const square = await crop(entry.file);
    if (square) {
      const { width } = await createImageBitmap(square);
      entry.note = say("cropped", { side: width });
      entry.ready = prepare(new File([square], entry.name, { type: square.type }));
      show();
    }
    list.querySelectorAll(".crop")[place].focus();
  } catch {
    tell([say("no_crop", { name: entry.name })]);
  }
}

/** Names that differ in a number or letter at their end are those of one lesion: a_1.jpg and a_2.jpg. */
function groupByName() {
  const stems = entries.map(({ name }) => name.replace(/\.\w+$/, "").replace(/[ _-]+\(?(\d{1,3}|[a-z])\)?$/i, ""));
  const groups = [...new Set(stems.filter((stem, i) => stems.indexOf(stem) !== i))];
  const names = groups.map((stem, i) => stem.length > longest ? `${stem.slice(0, longest - 4)}…${i + 1}` : stem);
  entries.forEach((entry, i) => (entry.lesion = names[groups.indexOf(stems[i])] ?? ""));
  show();
}

function idle() {
  send.disabled = false;
  progress.hidden = true;
}

/** How much of it is done, in per cent for the eye; what is being done is read out once. */
function report(key, share) {
  const bar = document.createElement("progress"), percent = document.createElement("span");
  bar.setAttribute("aria-label", say("working"));
  percent.setAttribute("aria-hidden", "true");
  if (share !== undefined) bar.value = share;
  percent.textContent = share === undefined ? "" : ` ${Math.round(share * 100)}%`;
  const words = progress.querySelector("output") ?? document.createElement("output");
  if (words.value !== say(key)) words.value = say(key);
  progress.replaceChildren(bar, " ", words, percent);
  progress.hidden = !(send.disabled = true);
}

async function classify() {
  const data = new FormData();
  for (const [place, entry] of entries.entries()) {
    report("preparing", place / entries.length);
    data.append("image", (await entry.ready).content, entry.name);
    data.append("lesion", entry.lesion);
  }
  report("sending", 0);
  replace(await post(data));
}

function post(data) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch does not tell how much has been sent
    request.upload.addEventListener("progress", ({ loaded, total }) => total && report("sending", loaded / total));
    request.upload.addEventListener("load", () => report("waiting"));
    request.addEventListener("load", () => resolve(request.responseText));
    request.addEventListener("error", () => reject(new Error(say("unreachable"))));
    request.open("POST", form.action);
    request.send(data);
  });
}

/** Show the page that the server sent; Back leads to the form again. */
function replace(text) {
  const page = new DOMParser().parseFromString(text, "text/html"), content = page.getElementById("content");
  if (!content) throw new Error(say("unreachable")); // it comes from a proxy
  history.replaceState({ form: true }, "");
  history.pushState({ result: true }, "");
  window.addEventListener("popstate", ({ state }) => state?.form && location.reload()); // links within the page fire it too
  document.title = page.title;
  document.getElementById("content").replaceWith(content);
  liven(content);
  content.focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

collect(form, add, message => tell([message]));

form.addEventListener("submit", event => {
  event.preventDefault();
  if (entries.length) {
    classify().catch(failure => {
      idle();
      tell([failure.message]);
    });
    return;
  }
  tell([say("missing")]);
  input.focus();
});

document.getElementById("by-name").addEventListener("click", groupByName);
form.classList.add("scripted");
form.querySelectorAll("[data-script]").forEach(element => (element.hidden = false));
add([...input.files]); // what the browser still has from before
