// The form, made better: drop and paste, previews, removal, limits checked before anything is sent, and progress.
// The form itself stays what sends the files, so that everything works as it does without this script.

const form = document.getElementById("upload");
const input = document.getElementById("image");
const photograph = document.getElementById("photograph");
const list = form.querySelector(".previews");
const error = document.getElementById("error");
const combine = form.querySelector(".combine");
const progress = form.querySelector(".progress");
const send = form.querySelector("button[type=submit]");
const accepted = form.dataset.accept.split(",");
const maxCount = Number(form.dataset.count);
const maxBytes = Number(form.dataset.bytes);
const THUMBNAIL = 160; // pixels, the longer side

let files = [];

function size(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1024))} kB` : `${(bytes / 2 ** 20).toFixed(1)} MB`;
}

function say(messages) {
  error.textContent = messages.join(" ");
  error.hidden = messages.length === 0;
}

function add(chosen) {
  const messages = [];
  for (const file of chosen) {
    const known = files.some(({ name, size, lastModified }) =>
      name === file.name && size === file.size && lastModified === file.lastModified);
    if (known) continue;
    if (file.type && !accepted.includes(file.type)) {
      messages.push(`${file.name} is not a ${form.dataset.formats} image.`);
    } else if (file.size > maxBytes) {
      messages.push(`${file.name} has ${size(file.size)}; at most ${size(maxBytes)} are accepted.`);
    } else if (files.length === maxCount) {
      messages.push(`At most ${maxCount} images are accepted at a time; ${file.name} was left out.`);
    } else {
      files.push(file);
    }
  }
  say(messages);
  show();
}

function show() {
  const transfer = new DataTransfer();
  files.forEach(file => transfer.items.add(file));
  input.files = transfer.files;
  list.replaceChildren(...files.map(entry));
  list.hidden = files.length === 0;
  combine.hidden = files.length < 2;
  if (combine.hidden) combine.querySelector("input").checked = false;
}

function entry(file) {
  const item = document.createElement("li");
  const canvas = document.createElement("canvas");
  const words = document.createElement("span");
  const remove = document.createElement("button");
  canvas.setAttribute("aria-hidden", "true");
  words.textContent = `${file.name}, ${size(file.size)}`;
  remove.type = "button";
  remove.className = "remove";
  remove.textContent = "Remove";
  remove.setAttribute("aria-label", `Remove ${file.name}`);
  remove.addEventListener("click", () => {
    const place = files.indexOf(file);
    files.splice(place, 1);
    say([]);
    show();
    (list.querySelectorAll(".remove")[Math.min(place, files.length - 1)] ?? input).focus();
  });
  item.append(canvas, words, remove);
  draw(file, canvas);
  return item;
}

async function draw(file, canvas) {
  try {
    const picture = await createImageBitmap(file);
    const scale = Math.min(1, THUMBNAIL / Math.max(picture.width, picture.height));
    canvas.width = Math.max(1, Math.round(picture.width * scale));
    canvas.height = Math.max(1, Math.round(picture.height * scale));
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    picture.close();
  } catch {
    canvas.replaceWith(Object.assign(document.createElement("span"), { className: "blank", textContent: "no preview" }));
  }
}

function busy(on) {
  send.disabled = on;
  progress.hidden = !on;
  progress.replaceChildren();
  if (!on) return;
  const bytes = files.reduce((sum, file) => sum + file.size, 0);
  const bar = document.createElement("progress");
  bar.setAttribute("aria-label", "Working");
  progress.append(bar, ` Sending ${files.length === 1 ? "one image" : `${files.length} images`} (${size(bytes)}) and waiting for the result…`);
}

input.addEventListener("change", () => add(input.files));
photograph.addEventListener("change", () => {
  const taken = [...photograph.files];
  photograph.value = "";
  add(taken);
});

for (const kind of ["dragover", "dragleave", "drop"]) {
  // On the window: a file dropped beside the form would otherwise replace the page.
  window.addEventListener(kind, event => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    form.classList.toggle("over", kind === "dragover");
    if (kind === "drop") add(event.dataTransfer.files);
  });
}

window.addEventListener("paste", event => {
  if (event.clipboardData?.files.length) {
    event.preventDefault();
    add(event.clipboardData.files);
  }
});

form.addEventListener("submit", event => {
  if (files.length) return busy(true);
  event.preventDefault();
  say(["Choose at least one image first."]);
  input.focus();
});

window.addEventListener("pageshow", () => busy(false)); // also on coming back to the page
form.querySelectorAll("[data-script]").forEach(element => (element.hidden = false));
add(input.files); // what the browser still has from before
